"""The directory for temporary files."""

from __future__ import annotations

import contextlib
import functools
import os
import sys


def directory() -> str:
    """Return the directory of tempfile.gettempdir, mostly without the import of tempfile, which takes milliseconds."""
    first = next(filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))), "/tmp")
    if _is_usable(first):
        return os.path.abspath(first)
    import tempfile

    return tempfile.gettempdir()


@functools.cache  # the directory stays the same even if its disk becomes full later
def _is_usable(path: str) -> bool:
    """Return whether a file can be written there, which tempfile tries, too. O_TMPFILE leaves no name, open(2)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError), open(os.open(path, os.O_TMPFILE | os.O_WRONLY), "wb", 0) as file:
            file.write(b"1")
            return True
    return False
