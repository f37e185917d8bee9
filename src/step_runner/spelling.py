"""Proposes known words for one that is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def meant(word: str, known: Iterable[str]) -> str:
    """What to add to a message about an unknown word: the nearest known one, or else all of them."""
    names = list(dict.fromkeys(name for name in known if name))
    import difflib  # only a mistake needs it

    near = difflib.get_close_matches(word[:60], names[:1000], n=1)
    if near:
        return f'; did you mean "{near[0]}"?'
    return f"; known: {', '.join(sorted(names)[:20])}" if names else ""
