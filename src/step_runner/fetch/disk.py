"""Why a fetched file cannot be written, in words for a person."""

from __future__ import annotations

from step_runner.fetch.cache_root import VARIABLE

_PRIVILEGE_NOT_HELD = 1314  # ERROR_PRIVILEGE_NOT_HELD of Windows


def disk_reason(error: OSError) -> str:
    """What is wrong with the disk or its file system, and what to do."""
    # Only Windows gives its errors this attribute.
    if getattr(error, "winerror", None) == _PRIVILEGE_NOT_HELD:
        return "it has a symbolic link, and Windows lets this user make none; switch on Developer Mode"
    reason = str(error.strerror or error) or type(error).__name__
    reason = " ".join(reason.lower().split())
    return f"it cannot be written: {reason}; make room, or set {VARIABLE} to another directory"
