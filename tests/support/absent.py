"""Skips tests whose programs this machine lacks."""

from __future__ import annotations

import os
import re
import sys
from typing import NoReturn

import pytest

REASON = "absent: {} (run .ci/install)"


def absent(program: str) -> NoReturn:
    """Skip the test; in CI on Linux let it fail, because `.ci/install` installs all programs of the tests there."""
    reason = REASON.format(program)
    if sys.platform == "linux" and os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def program_of(reason: str) -> str | None:
    """Return the missing program in the reason of a skipped test; None for any other reason."""
    found = re.search(re.escape(REASON).replace(re.escape("{}"), "(.+)"), reason)
    return found[1] if found is not None else None
