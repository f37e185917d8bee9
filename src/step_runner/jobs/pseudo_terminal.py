"""A pseudo-terminal of one step, by which its tools can tell that somebody is watching."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
from typing import TYPE_CHECKING

from step_runner.jobs.pipes import Pipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from step_runner.jobs.pipes import Outlet

OUTPUT_FLAGS = 1
"""Where termios(3) keeps c_oflag, in the list of Python."""

MOST_WAITING = 1 << 18
"""Bytes, more than a pseudo-terminal can hold; the kernel does not tell how many there are."""


class PseudoTerminal(Pipe):
    """A pseudo-terminal that controls no session: what sets its modes is not stopped by SIGTTOU."""

    def __init__(self, outlet: Outlet) -> None:
        """Make one of the size of the outlet's, which changes no byte. Raises OSError where none is free."""
        # It becomes the controlling one of nobody: openpty(3) opens it with O_NOCTTY.
        ours, theirs = os.openpty()
        attributes = termios.tcgetattr(theirs)
        attributes[OUTPUT_FLAGS] &= ~termios.OPOST
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        self._send: Callable[[int], object] | None = None
        super().__init__(ours, theirs, outlet)
        self._copy_size()

    def started(self, send: Callable[[int], object]) -> None:
        """Keep the step's end: when the last one is closed, what was not read yet can be lost. `send` signals it."""
        self._send = send

    def settled(self) -> None:
        """Close the step's end, as everything was read."""
        self._send = None
        super().settled()

    def resize(self) -> None:
        """Give it our size again, and tell the step: the kernel tells only whom a terminal controls."""
        self._copy_size()
        if self._send is not None:
            self._send(signal.SIGWINCH)

    def _copy_size(self) -> None:
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetwinsize(self._read_end, termios.tcgetwinsize(self.outlet.descriptor))

    def _waiting(self) -> int:
        return MOST_WAITING
