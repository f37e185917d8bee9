"""Shows the output of steps on a terminal, above one line about them."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from typing import TYPE_CHECKING

from gracefulexitcmd import clock
from gracefulexitcmd.program import HURRY_AFTER
from step_runner.cli.screen import STDERR, Screen, encoded
from step_runner.jobs.pseudo_terminal import PseudoTerminal

if TYPE_CHECKING:
    from step_runner.cli.outlet import Outlet
    from step_runner.runner.context import Stream

ERASE_LINE = b"\r\x1b[K"

REDRAW = 0.1
"""Seconds between two drawings of the line."""


class Terminal(Screen):
    """Steps write to a pseudo-terminal. Its bytes go unchanged to our terminal, above a line about the running step.

    The line is drawn only while the output is at the beginning of a line.
    """

    def __init__(self) -> None:
        self._step = ""
        self._fetching = ""
        self._since = clock.now()
        self._kill_at: float | None = None
        self._hurry_from = math.inf
        self._at_line_start = True
        self._drawn = b""
        self._ended = False
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGWINCH, self._resize)
        self._ticker = self._loop.call_later(REDRAW, self._tick)

    def notice(self, line: str) -> None:
        """Write a line of the runner's own, on a separate line, after the earlier output of steps."""
        self._pipes.drain()
        self._stderr.show((b"" if self._at_line_start else b"\n") + encoded(line))

    def step_started(self, names: tuple[str, ...]) -> None:
        """Show the name of the step in the line, after those of the steps around it."""
        self._step = " " + _printable(" > ".join(names))
        self._fetching = ""
        self._since = clock.now()
        self._draw()

    def fetching(self, text: str) -> None:
        """Show the text in the line at its next drawing, until a step starts."""
        self._fetching = _printable(text[:1].upper() + text[1:])

    def suspending(self) -> None:
        """Erase the line for the shell. It is drawn again when the job continues."""
        self._stderr.write(self._erased())

    def stopping(self, grace: float) -> None:
        """Show the time that is left in the line, and how to shorten it as soon as that is possible."""
        self._hurry_from = clock.now() + HURRY_AFTER
        self._count_down(grace)

    def step_stopping(self, names: tuple[str, ...], grace: float) -> None:
        """Show the time that the step has left: it may be less than the job's."""
        self._count_down(grace)

    def end(self) -> None:
        """Show the rest of the output and erase the line. Do not wait for a process that goes on writing."""
        self._ended = True
        self._ticker.cancel()
        super().end()
        self._stderr.write(self._erased())

    def _count_down(self, grace: float) -> None:
        self._kill_at = clock.now() + grace
        self._draw()

    def _open(self, outlet: Outlet) -> Stream:
        if not os.isatty(outlet.descriptor):
            return super()._open(outlet)
        return self._pipes.add(PseudoTerminal(outlet))

    def _resize(self) -> None:
        for pipe in self._pipes:
            if isinstance(pipe, PseudoTerminal):
                pipe.resize()

    def _framed(self, content: bytes) -> bytes:
        self._at_line_start = content.endswith(b"\n")
        return self._erased() + content + (self._line() if self._at_line_start and not self._ended else b"")

    def _tick(self) -> None:
        self._draw()
        self._ticker = self._loop.call_later(REDRAW, self._tick)

    def _draw(self) -> None:
        before = self._drawn
        if self._at_line_start and self._stderr.idle and self._line() != before:
            self._stderr.write(self._drawn)

    def _line(self) -> bytes:
        text = self._text(clock.now())[: _columns() - 1]
        self._drawn = ERASE_LINE + text.encode(errors="replace")
        return self._drawn

    def _erased(self) -> bytes:
        erased = ERASE_LINE if self._drawn else b""
        self._drawn = b""
        return erased

    def _text(self, now: float) -> str:
        if self._kill_at is not None:
            left = max(0, math.ceil(self._kill_at - now))
            hint = ", Ctrl-C again kills at once" if now >= self._hurry_from else ""
            return f"Stopping{self._step}: {left} s left{hint}"
        if self._fetching:
            return self._fetching
        return f"{'Running' if self._step else 'Starting'}{self._step}: {int(now - self._since)} s"


def _columns() -> int:
    try:
        return os.get_terminal_size(STDERR).columns or 80
    except OSError:
        return 80


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
