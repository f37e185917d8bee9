"""What a person sees of a running function: the output of its steps, and on a terminal one line about them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gracefulexitcmd import Exit
    from step_runner.cli.piped import Piped

STDOUT, STDERR = 1, 2


class Screen:
    """Says nothing beside the output of steps and the runner's lines."""

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


def screen(*, tty: bool = True) -> Piped:
    """The way of showing things that fits: a terminal gets the line, a file or a pipe nothing but the output.

    Without `tty` a terminal is treated as a pipe.
    """
    from step_runner.cli.piped import Piped

    if sys.platform == "win32":
        from step_runner.cli.console import Console

        return Console() if tty else Piped()
    from step_runner.cli.terminal import Terminal

    return Terminal() if tty and os.isatty(STDERR) and os.environ.get("TERM") != "dumb" else Piped()


def encoded(line: str) -> bytes:
    """A line as bytes."""
    return f"{line}\n".encode(errors="replace")
