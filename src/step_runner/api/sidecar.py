"""A command that runs next to a server; it starts when the first byte arrives on the server's stdin."""

from __future__ import annotations

import array
import asyncio
import sys
from typing import TYPE_CHECKING

from gracefulexitcmd import AsyncCmd
from step_runner.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

GRACE = 5.0
"""Grace period of the command when the server stops: seconds between SIGTERM and SIGKILL."""

STDIN = 0


class Sidecar:
    """The command, which inherits the server's stdin, stdout and stderr."""

    def __init__(self, command: Sequence[str]) -> None:
        self._program = command[0]
        self._process = AsyncCmd(command, grace=GRACE)

    async def run(self, stopping: asyncio.Event) -> int:
        """Run the command until it ends or the server stops; return its exit status.

        The command starts when the first byte arrives on stdin. If stdin ends or the server stops before that, the
        command does not run and the status is 0. Raise CommandError if it cannot be started.
        """
        if not await _first_byte(stopping):
            return 0
        try:
            await self._process.start()
        except OSError as error:
            raise CommandError(f'cannot run "{self._program}": {error.strerror}') from error
        ended = asyncio.ensure_future(self._process.wait())
        stopped = asyncio.ensure_future(stopping.wait())
        await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
        self._process.cancel()
        stopped.cancel()
        return (await ended).exit_status

    def kill(self, hurried: str) -> None:
        """Kill the command without a grace period, for this reason."""
        self._process.cancel(grace=0, hurried=hurried)


async def _first_byte(stopping: asyncio.Event) -> bool:
    """Return whether stdin has bytes to read, once that is known; False if the server stops first."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(STDIN, ready.set)
    except PermissionError:  # EPERM, epoll_ctl(2): a regular file or /dev/null, which is always ready
        return _waiting_bytes() > 0
    waits = [asyncio.ensure_future(event.wait()) for event in (ready, stopping)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(STDIN)
        for wait in waits:
            wait.cancel()
    return not stopping.is_set() and _waiting_bytes() > 0


def _waiting_bytes() -> int:
    """Return the number of bytes that can be read from stdin now; 0 at its end."""
    assert sys.platform != "win32"
    import fcntl
    import termios

    count = array.array("i", [0])
    try:
        fcntl.ioctl(STDIN, termios.FIONREAD, count)
    except OSError:  # a device without FIONREAD, such as /dev/null
        return 0
    return count[0]
