"""A command that is ended gracefully, for asyncio."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from typing import TYPE_CHECKING, Any, overload

from gracefulexitcmd.aio_streams import AsyncReader, AsyncWriter
from gracefulexitcmd.cmd import BaseCmd, Stoppable, ended
from gracefulexitcmd.duration import check_seconds
from gracefulexitcmd.exit import Exit, Out
from gracefulexitcmd.roundup import round_up

if sys.platform == "win32":
    from gracefulexitcmd.windows.driver import Driver
else:
    from gracefulexitcmd.posix.container import REAP_WITHIN, any_open, reap_orphans, when_opened
    from gracefulexitcmd.posix.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Literal, Self, Unpack

    from gracefulexitcmd.options import Options
    from gracefulexitcmd.request import Stopping, Stream, StrPath
    from gracefulexitcmd.system import ProcessSet


class AsyncWaitable(Stoppable[Out]):
    """Something that a task can wait for."""

    _driver: Driver | None = None

    async def wait(self, timeout: float | None = None) -> Exit[Out]:  # noqa: ASYNC109 - as in `Cmd`
        """Wait until it has ended; any number of tasks of one loop may wait, and of a new loop when that
        one was closed. Returns how it ended.

        What it writes to pipes is collected meanwhile. Raises TimeoutError after `timeout` seconds: the command goes
        on. Raises RuntimeError before the start, UnicodeDecodeError where the output is not the text that was asked
        for. A task that is cancelled while it waits stops the command gracefully; CancelledError goes on when the
        command has ended.
        """
        check_seconds("timeout", timeout)
        if self._execution.exit is None:
            await self._until_ended(self._driven(), timeout)
        return ended(self._execution)

    async def _until_ended(self, driver: Driver, timeout: float | None) -> None:  # noqa: ASYNC109
        self._execution.collect()  # else the end of pipes that were read so far would not be seen
        try:
            done, _ = await asyncio.wait((driver.ended,), timeout=timeout)
        except asyncio.CancelledError:
            self.cancel()
            await _despite_cancellation(driver.ended)
            raise
        if not done:
            raise TimeoutError(f"not ended after {timeout} s")

    def _driven(self) -> Driver:
        """What looks after it in the running loop, from now on if nothing did."""
        if self._driver is not None and self._driver.loop.is_closed():
            self._driver.abandon()
            self._driver = None
        if self._driver is None:
            self._driver = Driver(self._execution)
        return self._driver


class AsyncCmd(BaseCmd[Out], AsyncWaitable[Out]):
    """A command that is ended gracefully, for asyncio; the arguments are those of `Cmd`.

    `async with AsyncCmd(...) as command:` starts it and makes sure that it has ended at the end of the block. Timeout
    and grace hold from the start on, whatever the task does.
    """

    if TYPE_CHECKING:

        @overload
        def __init__(
            self: AsyncCmd[bytes],
            argv: Sequence[StrPath],
            *,
            text: Literal[False] | None = None,
            encoding: None = None,
            errors: None = None,
            **options: Unpack[Options],
        ) -> None: ...

        @overload
        def __init__(
            self: AsyncCmd[str],
            argv: Sequence[StrPath],
            *,
            text: bool | None = None,
            encoding: str | None = None,
            errors: str | None = None,
            **options: Unpack[Options],
        ) -> None: ...

        def __init__(self, argv: Sequence[StrPath], **options: Any) -> None: ...

    @functools.cached_property
    def stdin(self) -> AsyncWriter[Out]:
        """The command's stdin: `await command.stdin.write(content)`. Raises ValueError unless it is a PIPE."""
        if self._request.stdin != subprocess.PIPE:
            raise ValueError("stdin is not a pipe: give stdin=PIPE")
        return AsyncWriter(self._execution, self._request.text)

    @functools.cached_property
    def stdout(self) -> AsyncReader[Out]:
        """What the command writes to stdout: `async for line in ...`. Raises ValueError unless it is a PIPE."""
        return self._output("stdout", self._request.stdout)

    @functools.cached_property
    def stderr(self) -> AsyncReader[Out]:
        """What the command writes to stderr: `async for line in ...`. Raises ValueError unless it is a PIPE."""
        return self._output("stderr", self._request.stderr)

    def _output(self, name: str, stream: Stream) -> AsyncReader[Out]:
        if stream != subprocess.PIPE:
            raise ValueError(f"{name} is not a pipe: give {name}=PIPE")
        return AsyncReader(self._execution, name, self._request.text)

    async def start(self) -> None:
        """Start the command. Raises OSError where that is not possible, RuntimeError at a second start."""
        self._execution.start()
        if self._execution.exit is None:
            self._driven()

    async def run(self, *, check: bool = False) -> Exit[Out]:
        """Start the command, wait for it and return how it ended.

        Raises CommandFailed with `check`, unless it ended by itself with status 0, OSError where it cannot be started,
        and what `wait` raises.
        """
        await self.start()
        ended = await self.wait()
        return ended.check() if check else ended

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
        if self._execution.exit is None:
            await self._until_ended(self._driven(), None)


class AsyncRoundup(AsyncWaitable):
    """The stop sequence for a container in which no command runs any more: SIGTERM, `grace` seconds, SIGKILL."""

    def __init__(self, container: ProcessSet, grace: float, *, stopping: Stopping | None = None) -> None:
        """`grace` is in seconds; `stopping` is called just before the first signal, as that of `Cmd` is."""
        self._execution = round_up(container, grace, stopping)

    def begin(self) -> None:
        """Send the first signal, without waiting; `wait` is for the end."""
        self._execution.round_up()

    async def run(self) -> Exit:
        """Send the first signal and wait until no process is left; the census of the Exit names those it ended.

        A task that is cancelled meanwhile goes on waiting, and CancelledError goes on afterwards.
        """
        self.begin()
        return await self.wait()


class OrphanReaper:
    """Reaps, while the block runs, the orphans that come to this process and end; it must be a subreaper.

    It looks ten times a second as long as there is a container or an orphan, and has no handler for SIGCHLD: a loop's
    wake-up pipe cannot hold as many as may come at once, and then Python's handler waits for a lock that the thread
    which it has interrupted may hold. On Windows, where no process has to be reaped, it does nothing.
    """

    def __enter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: asyncio.TimerHandle | None = None
        if sys.platform != "win32":
            when_opened.add(self._container_opened)
        self._look_later()

    def __exit__(self, *_: object) -> None:
        if sys.platform != "win32":
            when_opened.discard(self._container_opened)
        if self._due is not None:
            self._due.cancel()

    def _container_opened(self) -> None:
        self._loop.call_soon_threadsafe(self._look_later)

    def _look_later(self) -> None:
        if sys.platform != "win32" and self._due is None:
            self._due = self._loop.call_later(REAP_WITHIN, self._look)

    def _look(self) -> None:
        self._due = None
        if sys.platform != "win32":
            left = reap_orphans()
            if left or any_open():
                self._look_later()


async def _despite_cancellation(ended: asyncio.Future[Exit]) -> None:
    """Wait for the end even if the task is cancelled again; the delay bounds how long that can take."""
    while not ended.done():
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            continue
