"""What a person sees of a running function: the output of its steps, and on a terminal one line about them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from step_runner.runner.context import Listener, Streams

if sys.platform == "win32":
    from step_runner.cli.windows_outlet import Outlet, are_one
    from step_runner.jobs.windows_pipes import Pipes
else:
    from step_runner.cli.outlet import Outlet, are_one
    from step_runner.jobs.pipes import Pipes

if TYPE_CHECKING:
    from collections.abc import Callable

    from step_runner.runner.context import Stream

STDOUT, STDERR = 1, 2


class Screen(Listener):
    """Shows the output of steps and the runner's lines and nothing beside them: in a file, a pipe, a dumb terminal.

    Steps write to pipes, and from there it goes to this program's own outputs; the runner's lines go to stderr. Where
    both outputs are one file, a step has one pipe for both, which keeps their order.
    """

    def __init__(self) -> None:
        self._pipes = Pipes()
        self._gone: Callable[[], object] = lambda: None
        self._stderr = Outlet(STDERR, self._framed, self._stalled, self._reader_gone)
        self._stdout = (
            self._stderr if are_one(STDOUT, STDERR) else Outlet(STDOUT, bytes, self._stalled, self._reader_gone)
        )

    @property
    def lost(self) -> OSError | None:
        """Why output could not be written."""
        return self._stderr.lost or self._stdout.lost

    def open(self) -> Streams:
        """Make the streams of a step. Raises OSError where no descriptor is free."""
        stdout = self._open(self._stdout)
        try:
            return Streams(stdout, stdout if self._stdout is self._stderr else self._open(self._stderr))
        except OSError:
            stdout.let_go()
            raise

    async def settle(self) -> None:
        """Have written what steps have written up to now; that can wait for the reader of our own output."""
        await self._pipes.settle()
        await self.written()

    async def written(self) -> None:
        """Wait until everything was written."""
        await self._stdout.written()
        await self._stderr.written()

    def notice(self, line: str) -> None:
        """Write a line of the runner's own, behind what steps have written before."""
        self._pipes.drain()
        self._stderr.show(encoded(line))

    def end(self) -> None:
        """Take what is left in the pipes; a process that goes on writing is not waited for."""
        self._pipes.close()

    def when_gone(self, gone: Callable[[], object]) -> None:
        """Have this called when nobody reads our output any more."""
        self._gone = gone

    def abandon(self) -> None:
        """Wait no longer for those who read our output."""
        self._stdout.abandon()
        self._stderr.abandon()

    def _open(self, outlet: Outlet) -> Stream:
        return self._pipes.open(outlet)

    def _framed(self, content: bytes) -> bytes:
        return content

    def _reader_gone(self) -> None:
        self._gone()

    def _stalled(self, outlet: Outlet, stalled: bool) -> None:
        """Whoever writes must wait for a slow reader of ours, in place of filling our memory."""
        for pipe in self._pipes:
            if pipe.outlet is outlet:
                pipe.pause() if stalled else pipe.resume()


def screen(*, tty: bool = True) -> Screen:
    """The way of showing things that fits: a terminal gets the line, a file or a pipe nothing but the output.

    Without `tty` a terminal is treated as a pipe.
    """
    if sys.platform == "win32":
        from step_runner.cli.console import Console

        return Console() if tty else Screen()
    from step_runner.cli.terminal import Terminal

    return Terminal() if tty and os.isatty(STDERR) and os.environ.get("TERM") != "dumb" else Screen()


def encoded(line: str) -> bytes:
    """A line as bytes."""
    return f"{line}\n".encode(errors="replace")
