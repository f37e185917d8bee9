"""A command that ends gracefully, for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys

from gracefulexitcmd import cmd
from gracefulexitcmd.aio_streams import AsyncReader, AsyncWriter
from gracefulexitcmd.cmd import BaseCmd, Stoppable, ended
from gracefulexitcmd.duration import check_seconds
from gracefulexitcmd.exit import Exit, Out
from gracefulexitcmd.termination import emptying

if sys.platform == "win32":
    from gracefulexitcmd.windows.driver import Driver
else:
    from gracefulexitcmd.posix.container import REAP_WITHIN, open_containers, reap_orphans, when_opened
    from gracefulexitcmd.posix.driver import Driver

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Any, Literal, Self, Unpack, overload

    from gracefulexitcmd.container import Container
    from gracefulexitcmd.options import Options
    from gracefulexitcmd.request import Stopping, StrPath
    from gracefulexitcmd.system import ProcessSet


class AsyncWaitable(Stoppable[Out]):
    """A run that a task can wait for."""

    _driver: Driver | None = None

    async def wait(self, timeout: float | None = None) -> Exit[Out]:  # noqa: ASYNC109 - as in `Cmd`
        """Wait for the end and return it as an `Exit`.

        Any number of tasks of one loop may wait, and tasks of a new loop once that loop is closed. Collect the output
        of its pipes meanwhile. Raise TimeoutError after `timeout` seconds; the command goes on. Raises RuntimeError
        before the start, and UnicodeDecodeError when the output is not valid text in the requested encoding. A
        cancelled task stops the command gracefully, and raises CancelledError after its end.
        """
        check_seconds("timeout", timeout)
        if self._execution.exit is None:
            await self._until_ended(self._driven(), timeout)
        return ended(self._execution)

    async def _until_ended(self, driver: Driver, timeout: float | None) -> None:  # noqa: ASYNC109
        self._execution.collect()  # otherwise the end of pipes that were read so far would go unnoticed
        try:
            await driver.wait(timeout)
        except asyncio.CancelledError:
            self.cancel()
            await _despite_cancellation(driver)
            raise
        if self._execution.exit is None:
            raise TimeoutError(f"not ended after {timeout} s")

    def _driven(self) -> Driver:
        """Return the driver of the run in the running loop; make one if there is none."""
        if self._driver is not None and self._driver.loop.is_closed():
            self._driver.abandon()
            self._driver = None
        if self._driver is None:
            self._driver = Driver(self._execution)
        return self._driver


class AsyncCmd(BaseCmd[Out], AsyncWaitable[Out]):
    """A command that ends gracefully, for asyncio; the arguments are those of `Cmd`.

    `async with AsyncCmd(...) as command:` starts the command, and cancels it at the end of the block if it still runs.
    The timeout and the grace period apply from the start, whatever the task does.
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
        """The command's stdin: `await command.stdin.write(content)`. Raise ValueError unless it is a PIPE."""
        self._check_pipe("stdin")
        return AsyncWriter(self._execution, self._request.text)

    @functools.cached_property
    def stdout(self) -> AsyncReader[Out]:
        """The command's stdout: `async for line in ...`. Raise ValueError unless it is a PIPE."""
        return self._output("stdout")

    @functools.cached_property
    def stderr(self) -> AsyncReader[Out]:
        """The command's stderr: `async for line in ...`. Raise ValueError unless it is a PIPE."""
        return self._output("stderr")

    def _output(self, name: str) -> AsyncReader[Out]:
        self._check_pipe(name)
        return AsyncReader(self._execution, name, self._request.text)

    async def start(self) -> None:
        """Start the command. Raise OSError when it cannot start, RuntimeError at a second start."""
        self._execution.start()
        if self._execution.exit is None:
            self._driven()

    async def run(self, *, check: bool = False) -> Exit[Out]:
        """Start the command, wait for it and return how it ended.

        Raise CommandFailed with `check`, unless the command ended by itself with status 0. Raise OSError when it
        cannot start, and the errors of `wait`.
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
        if self._execution.is_ending:
            with contextlib.suppress(TimeoutError):
                await self._until_ended(self._driven(), cmd.LAST_MOMENT)
        self.cancel()
        if self._execution.exit is None:
            await self._until_ended(self._driven(), None)


class AsyncTermination(AsyncWaitable):
    """The stop sequence for a container without a running command: SIGTERM, `grace` seconds, SIGKILL."""

    def __init__(self, container: Container | ProcessSet, grace: float, *, stopping: Stopping | None = None) -> None:
        """Set `grace` in seconds, and `stopping`, which is called just before the first signal, as for `Cmd`."""
        self._execution = emptying(container, grace, stopping)

    def begin(self) -> None:
        """Send the first signal without waiting; `wait` waits for the end."""
        self._execution.terminate_all()

    async def run(self) -> Exit:
        """Send the first signal and wait until no process is left.

        The census of the Exit names the processes that this stop ended. A cancelled task still waits for the end, and
        then raises CancelledError.
        """
        self.begin()
        return await self.wait()


class OrphanReaper:
    """Reaps orphans of this process while the block runs; the process must be a subreaper.

    It looks for ended orphans ten times a second as long as there is a container or an orphan. With thousands of
    orphans of which none ends, it looks once a second. It has no handler for SIGCHLD: so many signals may arrive at
    once that a loop's wake-up pipe is full. Python's handler then waits for a lock, and the interrupted thread may hold
    that lock. On Windows, where no process must be reaped, this does nothing.
    """

    def __enter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: asyncio.TimerHandle | None = None
        if sys.platform != "win32":
            when_opened.add(self._container_opened)
        self._reap_later()

    def __exit__(self, *_: object) -> None:
        if sys.platform != "win32":
            when_opened.discard(self._container_opened)
        if self._due is not None:
            self._due.cancel()

    def _container_opened(self) -> None:
        # A scan that is due finds it: `_reap` resets `_due` before it asks for open containers.
        if self._due is None:
            self._loop.call_soon_threadsafe(self._reap_later)

    def _reap_later(self, seconds: float | None = None) -> None:
        if sys.platform != "win32" and self._due is None:
            self._due = self._loop.call_later(seconds or REAP_WITHIN, self._reap)

    def _reap(self) -> None:
        self._due = None
        if sys.platform != "win32":
            again = reap_orphans()
            if again is not None or open_containers():
                self._reap_later(again)


async def _despite_cancellation(driver: Driver) -> None:
    """Wait for the end even if the task is cancelled again; the grace period limits the wait."""
    while True:
        try:
            return await driver.wait()
        except asyncio.CancelledError:
            continue
