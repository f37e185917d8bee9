"""What a person sees of a running function: the output of its steps, and on a terminal one line about them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import select
import sys
from typing import TYPE_CHECKING

from gracefulexitcmd import clock
from gracefulexitcmd.stop_request import HURRY_AFTER

if TYPE_CHECKING:
    from gracefulexitcmd import Exit

STDOUT, STDERR = 1, 2

CHUNK = 1 << 16
"""Bytes in one read: the default capacity of a pipe on Linux, pipe(7)."""

MOST_HELD_BACK = 1 << 20
"""Bytes that are taken out of the pipe at once: as many as an ordinary user can have in it, pipe(7)."""

ERASE_LINE = b"\r\x1b[K"

REDRAW = 0.1
"""Seconds between two drawings of the line."""


class Plain:
    """Steps write to this program's own stdout and stderr; the runner's lines go to stderr."""

    stdout = STDOUT
    stderr = STDERR

    def notice(self, line: str) -> None:
        """Write a line of the runner's own."""
        _write_all(STDERR, _encoded(line))

    def end(self) -> None:
        """Nothing is held back."""

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


class Terminal(Plain):
    """Steps write to a pipe, and from there byte for byte to the terminal, above a line that says what is running.

    Only what would go to the terminal is led through the pipe, both streams through the same one, which keeps
    their order. The line is drawn only while the output stands at the beginning of a line.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader, self._writer = os.pipe()
        if sys.platform != "win32":  # where no loop can watch a pipe
            os.set_blocking(self._reader, False)
        self.stdout = self._writer if os.isatty(STDOUT) else STDOUT
        self.stderr = self._writer
        self._step = ""
        self._fetching = ""
        self._since = clock.now()
        self._kill_at: float | None = None
        self._hurry_from = math.inf
        self._at_line_start = True
        self._drawn = b""
        self._ended = False
        self._loop.add_reader(self._reader, self._pass_on, CHUNK)
        self._ticker = self._loop.call_later(REDRAW, self._tick)

    def notice(self, line: str) -> None:
        """Write a line of the runner's own, on a line of its own, behind what steps have written before."""
        if self._ended:
            super().notice(line)
            return
        self._pass_on(MOST_HELD_BACK)
        self._write((b"" if self._at_line_start else b"\n") + _encoded(line))

    def step_started(self, names: tuple[str, ...]) -> None:
        """The line names the step, with those that it stands in."""
        self._step = " " + _printable(" > ".join(names))
        self._fetching = ""
        self._since = clock.now()
        self._draw()

    def fetching(self, text: str) -> None:
        """The line shows it when it is drawn the next time, until a step starts."""
        self._fetching = _printable(text[:1].upper() + text[1:])

    def suspending(self) -> None:
        """Leave the terminal to the shell; the line is drawn anew when everything goes on."""
        _write_all(STDERR, self._erased())

    def stopping(self, grace: float) -> None:
        """The line shows the time that is left, and how to shorten it as soon as that is possible."""
        self._hurry_from = clock.now() + HURRY_AFTER
        self._count_down(grace)

    def step_stopping(self, names: tuple[str, ...], grace: float) -> None:
        """A step can have less time than the job."""
        self._count_down(grace)

    def _count_down(self, grace: float) -> None:
        self._kill_at = clock.now() + grace
        self._draw()

    def end(self) -> None:
        """Show what is left in the pipe, and take the line away.

        A process that goes on writing into the pipe is not waited for.
        """
        if self._ended:
            return
        self._ticker.cancel()
        self._loop.remove_reader(self._reader)
        self._pass_on(MOST_HELD_BACK)
        _write_all(STDERR, self._erased())
        self._ended = True
        os.close(self._writer)
        os.close(self._reader)

    def _pass_on(self, most: int) -> None:
        """Show what is in the pipe, up to so many bytes: who writes without end must not keep a signal waiting."""
        with contextlib.suppress(BlockingIOError):
            while most > 0 and (chunk := os.read(self._reader, CHUNK)):
                most -= len(chunk)
                self._write(chunk)

    def _write(self, content: bytes) -> None:
        self._at_line_start = content.endswith(b"\n")
        _write_all(STDERR, self._erased() + content + (self._line() if self._at_line_start else b""))

    def _tick(self) -> None:
        self._draw()
        self._ticker = self._loop.call_later(REDRAW, self._tick)

    def _draw(self) -> None:
        before = self._drawn
        if self._at_line_start and self._line() != before:
            _write_all(STDERR, self._drawn)

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


def screen() -> Plain:
    """The way of showing things that fits: a terminal gets the line, a file or a pipe nothing but the output.

    On Windows steps always write to this program's own outputs.
    """
    if sys.platform == "win32":
        return Plain()
    return Terminal() if os.isatty(STDERR) and os.environ.get("TERM") != "dumb" else Plain()


def _columns() -> int:
    try:
        return os.get_terminal_size(STDERR).columns or 80
    except OSError:
        return 80


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _encoded(line: str) -> bytes:
    return f"{line}\n".encode(errors="replace")


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    with contextlib.suppress(OSError):  # the terminal is gone, or nobody reads it any more
        while view:
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:  # another program has made it non-blocking
                select.select([], [descriptor], [])
