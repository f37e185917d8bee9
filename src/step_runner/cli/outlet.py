"""One of this program's own outputs, written without ever waiting for those who read it."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import select
import stat
from typing import TYPE_CHECKING

from step_runner.cli.framed_output import FramedOutput

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 1 << 16
"""Bytes in one read: the default capacity of a pipe on Linux, pipe(7)."""

PIECE = 4096
"""Bytes that can be written without waiting where poll(2) says that there is room: PIPE_BUF, pipe(7).

O_NONBLOCK is not for us to set: the open file is also that of the shell and of all that it has started.
"""

GONE = (errno.EPIPE, errno.ECONNRESET, errno.EIO)
"""How a pipe, a socket and a terminal say that nobody reads any more."""


class Outlet(FramedOutput):
    """Writes as much as can be written without waiting, and the rest when the loop says that there is room."""

    reader_gone = GONE

    def __init__(
        self,
        descriptor: int,
        framed: Callable[[bytes], bytes],
        stalled: Callable[[Outlet, bool], object],
        gone: Callable[[], object],
    ) -> None:
        super().__init__(descriptor, framed, stalled, gone)
        self._waiting = bytearray()
        mode = os.fstat(descriptor).st_mode
        self._never_waits = stat.S_ISREG(mode)
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    @property
    def idle(self) -> bool:
        """Whether everything was written."""
        return not self._waiting

    def take(self, source: int, most: int) -> int:
        """Take bytes out of a pipe; returns how many, 0 at its end. Raises BlockingIOError where there is none."""
        try:
            chunk = os.read(source, min(most, CHUNK))
        except OSError as error:
            if error.errno != errno.EIO:  # so a pseudo-terminal says that nobody has it open any more
                raise
            return 0
        if chunk:
            self.show(chunk)
        return len(chunk)

    def write(self, content: bytes) -> None:
        """Write it as it is, now or as soon as there is room."""
        if not self._closed:
            self._waiting += content
            self._write_on()

    def abandon(self) -> None:
        """Drop from now on what cannot be written at once."""
        self._patient = False
        self._write_on()

    def _write_on(self) -> None:
        try:
            while self._waiting and self._has_room():
                most = len(self._waiting) if self._never_waits else PIECE
                count = os.write(self.descriptor, self._waiting[:most])
                del self._waiting[:count]
        except BlockingIOError:  # another program has made it non-blocking
            pass
        except OSError as error:
            self._fail(error)
        if not self._patient:
            self._waiting.clear()
        if not self._waiting:
            self._go_on()
        elif self._written.is_set():
            self._wait()

    def _has_room(self) -> bool:
        return self._never_waits or bool(self._poll.poll(0))

    def _close(self) -> None:
        self._closed = True
        self._waiting.clear()

    def _wait(self) -> None:
        self._written.clear()
        asyncio.get_running_loop().add_writer(self.descriptor, self._write_on)
        self._stalled(self, True)

    def _go_on(self) -> None:
        if not self._written.is_set():
            self._written.set()
            asyncio.get_running_loop().remove_writer(self.descriptor)
            self._stalled(self, False)


def are_one(*outputs: int) -> bool:
    """Whether outputs are one file, opened in one way; whether it was opened once the system does not tell us."""
    files = [os.fstat(output) for output in outputs]
    modes = {fcntl.fcntl(output, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_APPEND) for output in outputs}
    return len({(file.st_dev, file.st_ino) for file in files}) == 1 and len(modes) == 1
