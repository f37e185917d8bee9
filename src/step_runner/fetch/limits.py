"""Limits of the bytes and files that one fetch may write."""

from __future__ import annotations

import os
import re

from step_runner.fetch.messages import RefusedError

VARIABLE = "STEP_RUNNER_FETCH_LIMIT"
"""The environment variable of another limit: bytes, or KiB, MiB, GiB or TiB with the letter K, M, G or T."""

DEFAULT_LIMIT = 8 << 30
"""Bytes: more than the largest images have."""

MOST_ENTRIES = 1_000_000
"""Files, links and directories: each takes time and an inode, however small it is."""

LONGEST_NAME = 256
"""Characters of a path, which is kept in memory, that count as one entry."""

_UNITS = "KMGT"
_LIMIT = re.compile(rf"(\d{{1,15}})([{_UNITS}]?)(?:i?B)?", re.IGNORECASE)


ADVICE = "is not a valid size: write bytes, or a number with K, M, G or T, such as 20G"


class LimitError(RefusedError):
    """The limit that a fetch exceeds, and what to do."""


class Limits:
    """The rest of the limits of one fetch."""

    def __init__(self, limit: int | None = None) -> None:
        """Begin with a limit in bytes; default: that of the environment. Raise LimitError if that one is not valid."""
        self._limit = self._bytes = _limit(os.environ.get(VARIABLE, "")) if limit is None else limit
        self._entries = MOST_ENTRIES

    def take_bytes(self, count: int) -> None:
        """Count bytes before they are written. Raise LimitError if they exceed the limit."""
        self._bytes -= count
        if self._bytes < 0:
            raise LimitError(
                f"it has more than {_shown(self._limit)}: set {VARIABLE} to more, such as 20G, or shrink it"
            )

    def take_entry(self, path: object) -> None:
        """Count a file, link or directory before it is made. Raise LimitError if it exceeds the limit."""
        self._entries -= 1 + len(str(path)) // LONGEST_NAME
        if self._entries < 0:
            raise LimitError(f"it has more than {MOST_ENTRIES} files and directories: split it")


def size(text: str) -> int:
    """Return the bytes that a text such as 20G means. Raise ValueError if it is not a size."""
    found = _LIMIT.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text}" {ADVICE}')
    return int(found[1]) << 10 * (_UNITS.index(found[2].upper()) + 1 if found[2] else 0)


def _limit(text: str) -> int:
    try:
        return size(text) if text else DEFAULT_LIMIT
    except ValueError:
        raise LimitError(f"{VARIABLE} {ADVICE}") from None


def _shown(size: int) -> str:
    """Return a size in the largest unit that gives a whole number."""
    power = next((power for power in range(len(_UNITS), 0, -1) if size and size % (1 << 10 * power) == 0), 0)
    return f"{size >> 10 * power} {_UNITS[power - 1] + 'iB' if power else 'bytes'}"
