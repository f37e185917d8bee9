"""Proposes known words for an unknown one."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST = 100
MOST = 500
"""The limits of a comparison, in characters of a word and in known words: both may come from a hostile file."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the most similar known word, ignoring case; None if none is similar."""
    import difflib  # only a message about a mistake needs it

    if len(word) > LONGEST:
        return None
    spellings = {each.lower(): each for each in islice(known, MOST) if len(each) <= LONGEST}
    near = difflib.get_close_matches(word.lower(), spellings, n=1)
    return spellings[near[0]] if near else None


def meant(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the nearest known word, or else at most 20 known ones."""
    names = list(dict.fromkeys(name for name in known if name))
    if near := nearest(word, names):
        return f'; did you mean "{near}"?'
    return f"; known: {', '.join(sorted(names)[:20])}" if names else ""
