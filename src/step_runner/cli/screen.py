"""What a person sees of a running function: the output of its steps, and on a terminal one line about them."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from step_runner.runner.context import Streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from gracefulexitcmd import Exit

STDOUT, STDERR = 1, 2


class Screen:
    """Steps write to this program's own outputs; the runner's lines go to stderr."""

    @property
    def lost(self) -> OSError | None:
        """The steps see for themselves what cannot be written."""
        return None

    def open(self) -> Streams:
        """Our own outputs."""
        return Streams(_Own(STDOUT), _Own(STDERR))

    async def settle(self) -> None:
        """Nothing is held back."""

    async def written(self) -> None:
        """Nothing is held back."""

    def notice(self, line: str) -> None:
        """Write a line of the runner's own."""
        view = memoryview(encoded(line))
        with contextlib.suppress(OSError):  # nobody reads it any more
            while view:
                view = view[os.write(STDERR, view) :]

    def end(self) -> None:
        """Nothing is held back."""

    def when_gone(self, gone: Callable[[], object]) -> None:
        """The steps see for themselves that nobody reads."""

    def abandon(self) -> None:
        """Nobody is waited for."""

    def fetching(self, text: str) -> None:
        """Nobody waits before a file or a pipe."""

    def suspending(self) -> None:
        """The shell says it."""

    def stopping(self, grace: float) -> None:
        """The line about the stop says it."""

    def step_started(self, names: tuple[str, ...]) -> None:
        """The line about the step says it."""

    def step_stopping(self, names: tuple[str, ...], grace: float) -> None:
        """The line about the stop says it."""

    def step_stopped(self, names: tuple[str, ...], ended: Exit) -> None:
        """The line about the end says it."""


class _Own(NamedTuple):
    """An output of this program, which a step gets as it is."""

    write_end: int | None

    def started(self, send: Callable[[int], object]) -> None:
        """It stays ours."""

    def let_go(self) -> None:
        """It stays ours."""


def screen(*, tty: bool = True) -> Screen:
    """The way of showing things that fits: a terminal gets the line, a file or a pipe nothing but the output.

    Without `tty` a terminal is treated as a pipe. On Windows steps always write to this program's own outputs.
    """
    if sys.platform == "win32":
        return Screen()
    from step_runner.cli.piped import Piped
    from step_runner.cli.terminal import Terminal

    return Terminal() if tty and os.isatty(STDERR) and os.environ.get("TERM") != "dumb" else Piped()


def encoded(line: str) -> bytes:
    """A line as bytes."""
    return f"{line}\n".encode(errors="replace")
