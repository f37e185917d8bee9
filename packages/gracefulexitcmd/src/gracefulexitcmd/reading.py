"""Presents a running command's streams as files; a read or write also performs the command's due actions."""

from __future__ import annotations

import io

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Any

    from typing_extensions import Buffer

    from gracefulexitcmd.text import Text

BUFFER = 1 << 16
"""Bytes of one read: the default capacity of a pipe on Linux, pipe(7)."""


class RawOutput(io.RawIOBase):
    """The output of a command in a pipe; `take` waits for bytes, fills a buffer, and returns 0 at the end."""

    closed = False  # read for each line: an attribute takes half the time of the property

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
    """The input of a command through a pipe; `give` waits for room and takes bytes."""

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


class Buffered(io.BufferedReader):
    """The same with a buffer, to be read as text: `TextIOWrapper` asks for each line whether it is closed."""

    closed = False

    def close(self) -> None:
        super().close()
        self.closed = True


def output_file(raw: RawOutput, text: Text | None) -> IO[Any]:
    """Return a file to read from, like those of `subprocess`."""
    if text is None:
        return io.BufferedReader(raw, BUFFER)
    wrapper: Any = io.TextIOWrapper(
        Buffered(raw, BUFFER), text.encoding, text.errors
    )  # Any: typeshed lacks _CHUNK_SIZE
    wrapper._CHUNK_SIZE = BUFFER  # its 8 KiB bypass the buffer: eight times as many reads
    made: IO[Any] = wrapper
    return made


def input_file(raw: RawInput, text: Text | None) -> IO[Any]:
    """Return a file to write to, like those of `subprocess`: flush() and close() send the buffered text or bytes."""
    buffered = io.BufferedWriter(raw, BUFFER)
    return buffered if text is None else io.TextIOWrapper(buffered, text.encoding, text.errors)
