"""Bytes in their order of arrival; optionally only the last of them are kept."""

from __future__ import annotations

from collections import deque


class Chunks:
    """Bytes that were read but not yet taken. With `most`, the oldest bytes beyond that number are dropped."""

    def __init__(self, most: int | None = None) -> None:
        self.dropped = 0
        self._most = most
        self._chunks: deque[bytes] = deque()
        self._size = 0

    @property
    def content(self) -> bytes:
        """All bytes."""
        return b"".join(self._chunks)

    def add(self, chunk: bytes) -> None:
        """Add bytes at the end."""
        self._chunks.append(chunk)
        self._size += len(chunk)
        while self._most is not None and self._size > self._most:
            self._drop(self._size - self._most)

    def take(self, buffer: memoryview) -> int:
        """Move the oldest bytes into a buffer, and return their number."""
        first = self._chunks[0]
        count = min(len(first), len(buffer))
        buffer[:count] = first[:count]
        self._remove(count)
        return count

    def __bool__(self) -> bool:
        return bool(self._chunks)

    def _drop(self, count: int) -> None:
        dropped = min(count, len(self._chunks[0]))
        self._remove(dropped)
        self.dropped += dropped

    def _remove(self, count: int) -> None:
        self._size -= count
        first = self._chunks.popleft()
        if count < len(first):
            self._chunks.appendleft(first[count:])
