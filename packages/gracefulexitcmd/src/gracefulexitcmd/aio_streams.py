"""A running command's streams for asyncio, with the method names of files."""

from __future__ import annotations

import asyncio
from collections import deque

from gracefulexitcmd.exit import Out
from gracefulexitcmd.reading import BUFFER
from gracefulexitcmd.typed import Generic

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from gracefulexitcmd.execution import Execution
    from gracefulexitcmd.text import Text


class AsyncReader(Generic[Out]):
    """The output of a command in a pipe. One task at a time may read. A line may have any length."""

    def __init__(self, execution: Execution, name: str, text: Text | None) -> None:
        self._execution = execution
        self._name = name
        self._decode: Callable[..., Any] = _unchanged if text is None else text.decoder().decode
        self._empty: Any = b"" if text is None else ""
        self._newline: Any = b"\n" if text is None else "\n"
        self._buffer = memoryview(bytearray(BUFFER))
        self._lines: deque[Any] = deque()
        self._rest: Any = self._empty
        self._at_end = False

    async def read(self, size: int = -1) -> Out:
        """Return at most `size` bytes or characters, by default all until the end; empty at the end.

        Raise UnicodeDecodeError when they are not valid text in the requested encoding, RuntimeError before the start.
        """
        while not self._at_end and (size < 0 or not (self._lines or self._rest)):
            await self._fill()
        found: Out = self._empty.join((*self._lines, self._rest))
        self._lines.clear()
        if 0 <= size < len(found):
            self._keep(found[size:])
            return found[:size]
        self._rest = self._empty
        return found

    async def readline(self) -> Out:
        """Return the next line with its line end, which the last line may lack; empty at the end.

        Raise the errors of `read`.
        """
        while not self._lines and not self._at_end:
            await self._fill()
        if self._lines:
            line: Out = self._lines.popleft()
            return line
        last: Out = self._rest
        self._rest = self._empty
        return last

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Out:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def _fill(self) -> None:
        count = self._execution.take(self._name, self._buffer, woken := _Woken())
        while count is None:
            await woken.event.wait()
            count = self._execution.take(self._name, self._buffer, woken := _Woken())
        self._at_end = count == 0
        self._keep(self._rest + self._decode(bytes(self._buffer[:count]), final=self._at_end))

    def _keep(self, content: Any) -> None:
        *lines, self._rest = content.split(self._newline)
        self._lines.extend(line + self._newline for line in lines)


class AsyncWriter(Generic[Out]):
    """The input of a command in a pipe."""

    def __init__(self, execution: Execution, text: Text | None) -> None:
        self._execution = execution
        self._encode: Callable[[Any], bytes] = bytes if text is None else text.encode

    async def write(self, content: Out) -> None:
        """Write bytes or text; wait until there is room.

        Raise BrokenPipeError when the command no longer reads, UnicodeEncodeError for text that the encoding lacks.
        """
        data = self._encode(content)
        while not self._execution.give(data, woken := _Woken()):
            await woken.event.wait()

    async def close(self) -> None:
        """Close the pipe: the command gets end of file once it has read everything. A second call does nothing."""
        self._execution.end_input()


class _Woken:
    """Sets an event of the running loop from any thread."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> None:
        if asyncio._get_running_loop() is self._loop:
            self.event.set()
        else:
            self._loop.call_soon_threadsafe(self.event.set)


def _unchanged(content: bytes, *, final: bool) -> bytes:
    return content
