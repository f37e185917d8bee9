"""Programs that tests need and this machine lacks."""

from __future__ import annotations

import os
import re
import sys
from typing import NoReturn

import pytest

REASON = "absent: {} (run .ci/install)"


def absent(program: str) -> NoReturn:
    """Skip the test; where CI runs on Linux it fails, because `.ci/install` brings all that tests need there."""
    reason = REASON.format(program)
    if sys.platform == "linux" and os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def program_of(reason: str) -> str | None:
    """Return the program for whose absence a test was skipped; None for any other reason."""
    found = re.search(re.escape(REASON).replace(re.escape("{}"), "(.+)"), reason)
    return found[1] if found is not None else None
