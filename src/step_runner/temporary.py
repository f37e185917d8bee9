"""The directory for temporary files."""

from __future__ import annotations

import contextlib
import functools
import os
import sys


def directory() -> str:
    """Return what tempfile.gettempdir does, mostly without the milliseconds that the import of tempfile takes."""
    first = next(filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))), "/tmp")
    if _is_usable(first):
        return os.path.abspath(first)
    import tempfile

    return tempfile.gettempdir()


@functools.cache  # a disk that becomes full later does not move what comes then to another place
def _is_usable(path: str) -> bool:
    """Whether a file can be written there, which tempfile tries as well; O_TMPFILE gives it no name, open(2)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError), open(os.open(path, os.O_TMPFILE | os.O_WRONLY), "wb", 0) as file:
            file.write(b"1")
            return True
    return False
