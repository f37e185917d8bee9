"""Bytes in the order in which they came, at most the last so many of them."""

from __future__ import annotations

from collections import deque


class Chunks:
    """Bytes that were read and not taken yet; with `most` those in front are dropped when there are more."""

    def __init__(self, most: int | None = None) -> None:
        self.dropped = 0
        self._most = most
        self._chunks: deque[bytes] = deque()
        self._size = 0

    @property
    def content(self) -> bytes:
        """All of them."""
        return b"".join(self._chunks)

    def add(self, chunk: bytes) -> None:
        """Add bytes at the end."""
        self._chunks.append(chunk)
        self._size += len(chunk)
        while self._most is not None and self._size > self._most:
            self._drop(self._size - self._most)

    def take(self, buffer: memoryview) -> int:
        """Move bytes from the front into a buffer, and return how many."""
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
