"""A running command's streams as files: to read or write one does meanwhile what is due for the command."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from gracefulexitcmd.text import Text

BUFFER = 1 << 16
"""Bytes in one read: the default capacity of a pipe on Linux, pipe(7)."""


class RawOutput(io.RawIOBase):
    """What a command writes to a pipe; `take` fills a buffer, waits for bytes, and returns 0 at the end."""

    closed = False  # asked for at each line: half as long as the property takes

    def __init__(self, take: Callable[[memoryview], int]) -> None:
        super().__init__()
        self._take = take

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        return self._take(memoryview(buffer).cast("B"))

    def close(self) -> None:
        super().close()
        self.closed = True


class RawInput(io.RawIOBase):
    """What a command reads from a pipe; `give` takes bytes, and waits for room."""

    def __init__(self, give: Callable[[bytes], None], finish: Callable[[], None]) -> None:
        super().__init__()
        self._give = give
        self._finish = finish

    def writable(self) -> bool:
        return True

    def write(self, content: Buffer) -> int:
        data = bytes(content)
        self._give(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._finish()


def output_file(raw: RawOutput, text: Text | None) -> IO[Any]:
    """Return a file to read from, as `subprocess` makes it."""
    buffered = io.BufferedReader(raw, BUFFER)
    if text is None:
        return buffered
    wrapper: Any = io.TextIOWrapper(buffered, text.encoding, text.errors)  # Any, for what typeshed lacks
    wrapper._CHUNK_SIZE = BUFFER  # it asks for 8 KiB, and passes by the buffer: eight times as many reads
    made: IO[Any] = wrapper
    return made


def input_file(raw: RawInput, text: Text | None) -> IO[Any]:
    """Return a file to write to, as `subprocess` makes it: what is written is passed on by flush() and close()."""
    buffered = io.BufferedWriter(raw, BUFFER)
    return buffered if text is None else io.TextIOWrapper(buffered, text.encoding, text.errors)
