"""Runs GitLab CI functions step by step and ends them gracefully."""

from __future__ import annotations

import os
import sys

__version__ = "0.1.0"

VENDORED = os.path.join(os.path.dirname(__file__), "vendored")
"""The copy of gracefulexitcmd in an installed wheel. It comes first: another version may be installed too."""

if os.path.isdir(VENDORED):
    sys.path.insert(0, VENDORED)
