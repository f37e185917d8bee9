"""Shows a running function: the output of its steps, and on a terminal one line about them."""

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
    """Shows only the output of steps and the runner's lines: in a file, a pipe, a dumb terminal.

    Steps write to pipes. This program copies their output to its own outputs, and writes the runner's lines to stderr.
    If both outputs are one file, a step has one pipe for both, which keeps their order.
    """

    def __init__(self) -> None:
        self._pipes = Pipes()
        self.reader_gone: Callable[[], object] = lambda: None
        """Called when our output has no reader any more."""
        self._stderr = Outlet(STDERR, self, self._framed)
        self._stdout = self._stderr if are_one(STDOUT, STDERR) else Outlet(STDOUT, self, bytes)

    @property
    def lost(self) -> OSError | None:
        """Return the error of a failed write, None if there was none."""
        return self._stderr.lost or self._stdout.lost

    def open(self) -> Streams:
        """Make the streams of a step. Raise OSError if no descriptor is free."""
        stdout = self._open(self._stdout)
        try:
            return Streams(stdout, stdout if self._stdout is self._stderr else self._open(self._stderr))
        except OSError:
            stdout.let_go()
            raise

    async def settle(self) -> None:
        """Wait until the output of steps up to now is written. A slow reader of our own output delays this."""
        await self._pipes.settle()
        await self.written()

    async def written(self) -> None:
        """Wait until everything was written."""
        await self._stdout.written()
        await self._stderr.written()

    def notice(self, line: str) -> None:
        """Write a line of the runner's own, after the earlier output of steps."""
        self._pipes.drain()
        self._stderr.show(encoded(line))

    def end(self) -> None:
        """Take the rest out of the pipes. Do not wait for a process that goes on writing."""
        self._pipes.close()

    def when_gone(self, gone: Callable[[], object]) -> None:
        """Call `gone` when our output has no reader any more."""
        self.reader_gone = gone

    def abandon(self) -> None:
        """Stop waiting for the readers of our output."""
        self._stdout.abandon()
        self._stderr.abandon()

    def _open(self, outlet: Outlet) -> Stream:
        return self._pipes.open(outlet)

    def _framed(self, content: bytes) -> bytes:
        return content

    def stalled(self, outlet: object, stalled: bool) -> None:
        """Pause the pipes of a slow output, so that steps wait and our memory does not fill; resume them later."""
        for pipe in self._pipes:
            if pipe.outlet is outlet:
                pipe.pause() if stalled else pipe.resume()


def screen(*, tty: bool = True) -> Screen:
    """Return the screen that fits the outputs: a terminal gets the line, a file or a pipe only the output.

    Without `tty` treat a terminal as a pipe.
    """
    if sys.platform == "win32":
        from step_runner.cli.console import Console

        return Console() if tty else Screen()
    from step_runner.cli.terminal import Terminal

    return Terminal() if tty and os.isatty(STDERR) and os.environ.get("TERM") != "dumb" else Screen()


def encoded(line: str) -> bytes:
    """Return a line as bytes, with its line break."""
    return f"{line}\n".encode(errors="replace")
