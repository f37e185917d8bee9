"""Hashes a long stream in a second thread, while its reader works on with each piece."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from hashlib import _Hash

_MOST_PENDING = 2  # pieces in memory besides the reader's


def hashed(pieces: Iterable[bytes], hash_: _Hash) -> Generator[bytes]:
    """Yield the pieces; after the last one the hash is that of all of them."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="digest") as helper:
        try:
            pending = deque([helper.submit(hash_.update, b"")])
        except RuntimeError:  # no thread can start: the user has reached the limit of processes
            pending = deque()
        for piece in pieces:
            if pending:
                pending.append(helper.submit(hash_.update, piece))
            else:
                hash_.update(piece)
            if len(pending) > _MOST_PENDING:
                pending.popleft().result()
            yield piece
