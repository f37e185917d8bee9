"""The pseudo-terminal of one step: its tools see that a person is watching."""

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
"""Index of c_oflag, termios(3), in Python's list of attributes."""

MOST_WAITING = 1 << 18
"""Bytes: more than a pseudo-terminal can hold. The kernel does not report how many there are."""


class PseudoTerminal(Pipe):
    """A pseudo-terminal that controls no session. A process that sets its modes therefore gets no SIGTTOU."""

    def __init__(self, outlet: Outlet) -> None:
        """Open a pseudo-terminal of the outlet's size that changes no byte. Raise OSError when none is free."""
        # It controls no session: openpty(3) opens it with O_NOCTTY.
        ours, theirs = os.openpty()
        attributes = termios.tcgetattr(theirs)
        attributes[OUTPUT_FLAGS] &= ~termios.OPOST
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        self._send: Callable[[int], object] | None = None
        super().__init__(ours, theirs, outlet)
        self._copy_size()

    def started(self, send: Callable[[int], object]) -> None:
        """Keep the step's end open: closing the last one can lose unread output. `send` sends the step a signal."""
        self._send = send

    def settled(self) -> None:
        """Move the output and then close the step's end."""
        self._send = None
        self.drain()
        super().settled()

    def reopen(self) -> bool:
        """Return False: each step has a pseudo-terminal of its own, as its modes outlive a step."""
        return False

    def resize(self) -> None:
        """Set our current size, and send SIGWINCH: the kernel signals only the session that a terminal controls."""
        self._copy_size()
        if self._send is not None:
            self._send(signal.SIGWINCH)

    def _copy_size(self) -> None:
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetwinsize(self._read_end, termios.tcgetwinsize(self.outlet.descriptor))

    def _waiting(self) -> int:
        return MOST_WAITING
