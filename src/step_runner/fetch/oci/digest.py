"""Calculates the digest of a long stream in a second thread, while its reader works on with each piece."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORTH_A_THREAD = 1 << 16  # bytes; hashlib releases the GIL while it hashes more than 2047
_MOST_PENDING = 2  # pieces in memory besides the reader's


@contextmanager
def hashing(algorithm: str) -> Iterator[ParallelHash]:
    """Yield a hash for one thread."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="digest") as helper:
        yield ParallelHash(algorithm, helper)


class ParallelHash:
    """A hash of pieces, the last of which may still be pending."""

    def __init__(self, algorithm: str, helper: ThreadPoolExecutor) -> None:
        self._hash = hashlib.new(algorithm)
        self._helper: ThreadPoolExecutor | None = helper
        self._pending: deque[Future[None]] = deque()

    def update(self, piece: bytes) -> None:
        """Add a piece; wait while too many are pending."""
        if self._helper and len(piece) >= _WORTH_A_THREAD:
            self._wait(_MOST_PENDING - 1)
            try:
                self._pending.append(self._helper.submit(self._hash.update, piece))
                return
            except RuntimeError:  # no thread can start: the user has reached the limit of processes
                self._helper = None
        self._wait(0)
        self._hash.update(piece)

    def hexdigest(self) -> str:
        """Return the digest of all pieces as hexadecimal digits."""
        self._wait(0)
        return self._hash.hexdigest()

    def _wait(self, most: int) -> None:
        """Wait until at most this many pieces are pending."""
        while len(self._pending) > most:
            self._pending.popleft().result()
