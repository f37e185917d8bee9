"""One of this program's own outputs, whatever the system: a frame for its reader, and what its state means."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable


class FramedOutput(ABC):
    """Takes the output of steps, `framed` for its reader, and has little more than one pipe's content in memory.

    `stalled` is called with True when its reader is slow, and then it should be given no more; with False when it
    has taken everything. `gone` is called when there is no reader any more; later output is dropped.
    """

    reader_gone: ClassVar[tuple[int, ...]]
    """The error numbers by which the system says that nothing reads any more."""

    def __init__(
        self,
        descriptor: int,
        framed: Callable[[bytes], bytes],
        stalled: Callable[[Any, bool], object],
        gone: Callable[[], object],
    ) -> None:
        self.descriptor = descriptor
        self.lost: OSError | None = None
        """Why output could not be written although there is a reader: the disk is full, say."""
        self._framed = framed
        self._stalled = stalled
        self._gone = gone
        self._written = asyncio.Event()
        self._written.set()
        self._patient = True
        self._closed = False

    def show(self, content: bytes) -> None:
        """Write it in its frame."""
        self.write(self._framed(content))

    @abstractmethod
    def write(self, content: bytes) -> None:
        """Write it as it is, now or as soon as there is room."""

    async def written(self) -> None:
        """Wait until everything was written, or will never be."""
        await self._written.wait()

    def _fail(self, error: OSError) -> None:
        self._close()
        if error.errno in self.reader_gone:
            self._gone()
        else:
            self.lost = error

    @abstractmethod
    def _close(self) -> None:
        """Drop what is left and all that comes."""
