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
    ids=["system", "library", "none"],
)
def test_disk_error_names_reason_and_remedy(error: OSError, reason: str) -> None:
    assert disk_reason(error) == f"it cannot be written: {reason}; make room, or set {VARIABLE} to another directory"


def test_windows_link_error_names_developer_mode() -> None:
    """Windows refuses links to this user; the message says how to allow them."""
    error = OSError(errno.EINVAL, "A required privilege is not held by the client")
    error.winerror = 1314  # type: ignore[attr-defined, unused-ignore]
    assert disk_reason(error) == (
        "it has a symbolic link, and Windows lets this user make none; switch on Developer Mode"
    )
