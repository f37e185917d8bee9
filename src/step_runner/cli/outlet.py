"""Writes to one of this program's own outputs without ever blocking on its reader."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import select
import stat

from step_runner.cli.framed_output import FramedOutput

CHUNK = 1 << 16
"""Bytes in one read: the default capacity of a pipe on Linux, pipe(7)."""

PIECE = 4096
"""Bytes that a write takes without blocking when poll(2) reports room: PIPE_BUF, pipe(7).

We must not set O_NONBLOCK: the shell and its other programs share the open file description.
"""


class Outlet(FramedOutput):
    """Writes as much as possible without blocking, and the rest when the loop reports room."""

    reader_gone = (errno.EPIPE, errno.ECONNRESET, errno.EIO)
    """The errors of a pipe, a socket and a terminal that have no reader any more."""

    def _open(self) -> None:
        self._waiting = bytearray()
        mode = os.fstat(self.descriptor).st_mode
        self._never_waits = stat.S_ISREG(mode)
        self._poll = select.poll()
        self._poll.register(self.descriptor, select.POLLOUT)

    @property
    def idle(self) -> bool:
        """Return whether everything was written."""
        return not self._waiting

    def take(self, source: int, most: int) -> int:
        """Take bytes out of a pipe. Return their number, 0 at its end. Raise BlockingIOError if it is empty."""
        try:
            chunk = os.read(source, min(most, CHUNK))
        except OSError as error:
            if error.errno != errno.EIO:  # the end of a pseudo-terminal: no process has it open any more
                raise
            return 0
        if chunk:
            self.show(chunk)
        return len(chunk)

    def write(self, content: bytes) -> None:
        """Write bytes without a frame, now or as soon as there is room."""
        if not self._closed:
            self._waiting += content
            self._write_on()

    def abandon(self) -> None:
        """From now on drop output that cannot be written at once."""
        self._patient = False
        self._write_on()

    def _write_on(self) -> None:
        try:
            while self._waiting and (self._never_waits or self._poll.poll(0)):
                most = len(self._waiting) if self._never_waits else PIECE
                count = os.write(self.descriptor, self._waiting[:most])
                del self._waiting[:count]
        except BlockingIOError:  # another program has set O_NONBLOCK
            pass
        except OSError as error:
            self._fail(error)
        if not self._patient:
            self._waiting.clear()
        if not self._waiting:
            self._go_on()
        elif self._written.is_set():
            self._wait()

    def _close(self) -> None:
        self._closed = True
        self._waiting.clear()

    def _wait(self) -> None:
        self._written.clear()
        asyncio.get_running_loop().add_writer(self.descriptor, self._write_on)
        self._screen.stalled(self, True)

    def _go_on(self) -> None:
        if not self._written.is_set():
            self._written.set()
            asyncio.get_running_loop().remove_writer(self.descriptor)
            self._screen.stalled(self, False)


def are_one(*outputs: int) -> bool:
    """Return whether outputs are one file with one access mode; they may still be two open file descriptions."""
    files = [os.fstat(output) for output in outputs]
    modes = {fcntl.fcntl(output, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_APPEND) for output in outputs}
    return len({(file.st_dev, file.st_ino) for file in files}) == 1 and len(modes) == 1
