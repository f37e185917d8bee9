"""The common part of the outputs of this program on all systems: a frame for the reader, and the state."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from step_runner.cli.screen import Screen


class FramedOutput(ABC):
    """Takes the output of steps, `framed` for its reader, and keeps little more than one pipe's content in memory.

    It reports to the screen: that it is stalled, when its reader is slow and it needs no more output; that everything
    is written, and it goes on; that its reader is gone, and it drops later output.
    """

    reader_gone: ClassVar[tuple[int, ...]]
    """The error numbers of a write to an output that has no reader any more."""

    def __init__(self, descriptor: int, screen: Screen, framed: Callable[[bytes], bytes]) -> None:
        self.descriptor = descriptor
        self.lost: OSError | None = None
        """The error of a write that failed although there is a reader, for example a full disk."""
        self._screen = screen
        self._framed = framed
        self._written = asyncio.Event()
        self._written.set()
        self._patient = True
        self._closed = False
        self._open()

    @abstractmethod
    def _open(self) -> None:
        """Prepare what writes on this system; called once, when the other fields are set."""

    def show(self, content: bytes) -> None:
        """Write output of a step in its frame."""
        self.write(self._framed(content))

    @abstractmethod
    def write(self, content: bytes) -> None:
        """Write bytes without a frame, now or as soon as there is room."""

    async def written(self) -> None:
        """Wait until everything was written or dropped."""
        await self._written.wait()

    def _fail(self, error: OSError) -> None:
        self._close()
        if error.errno in self.reader_gone:
            self._screen.reader_gone()
        else:
            self.lost = error

    @abstractmethod
    def _close(self) -> None:
        """Drop the waiting output and all later output."""
