"""Reads a file into which others write, and which somebody may remove meanwhile."""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING

if sys.platform == "win32":
    from step_runner.windows_file import GENERIC_READ, OPEN_EXISTING, SHARE_ALL, open_file

if TYPE_CHECKING:
    from typing import Self


class Reader:
    """Reads a file to its end, also after it was removed; the descriptor is its own from now on."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def size(self) -> int:
        """Bytes that there are now."""
        return os.fstat(self.descriptor).st_size

    def read(self, size: int, offset: int) -> bytes:
        """At most so many bytes from an offset on."""
        if sys.platform == "win32":
            # Not every file system can go to an offset that is far behind the end.
            os.lseek(self.descriptor, min(offset, self.size()), os.SEEK_SET)
            return os.read(self.descriptor, size)
        return os.pread(self.descriptor, size, offset)


def opened(path: str) -> Reader:
    """A reader of the file at a path. Raises FileNotFoundError where a step has put something else in its place."""
    descriptor = _open(path)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(path)
    return Reader(descriptor)


def _open(path: str) -> int:
    if sys.platform == "win32":
        return open_file(path, GENERIC_READ, SHARE_ALL, OPEN_EXISTING)
    # The opening of a pipe would wait for somebody who writes, a link can lead anywhere.
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ELOOP):  # a socket, a link
            raise FileNotFoundError(path) from None
        raise
