"""Messages about files that cannot be written."""

from __future__ import annotations

import errno

import pytest

from step_runner.fetch.cache import VARIABLE
from step_runner.fetch.messages import disk_reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on device"),
        (OSError("a library's\nwords"), "a library's words"),
        (PermissionError(), "permissionerror"),
    ],
    ids=["system", "library", "nobody"],
)
def test_reason_is_told_in_the_words_of_who_knows_it(error: OSError, reason: str) -> None:
    assert disk_reason(error) == f"it cannot be written: {reason}; make room, or set {VARIABLE} to another directory"


def test_user_of_windows_who_may_make_no_links_is_told_how_to_be_allowed() -> None:
    error = OSError(errno.EINVAL, "A required privilege is not held by the client")
    error.winerror = 1314  # type: ignore[attr-defined, unused-ignore]
    assert disk_reason(error) == (
        "it has a symbolic link, and Windows lets this user make none; switch on Developer Mode"
    )
