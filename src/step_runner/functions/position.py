"""Finds the line and column of a character of a value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from step_runner.functions.nodes import place_of
from step_runner.model import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from step_runner.functions.nodes import Scalar

WORD = re.compile(r"\S{1,40}")


def place_within(node: Scalar, offset: int, lines: Sequence[str], file: str) -> Place:
    """Return the place of the character at `offset` of a value, found by the word that begins there.

    Return the beginning of the value if the file writes the word with escapes, or if no word begins there.
    """
    word = WORD.match(node.text, offset)
    if word is None:
        return place_of(node, file)
    same_word = re.compile(re.escape(word.group()))
    skipped = len(same_word.findall(node.text, 0, offset))
    for number in range(node.line, min(node.last_line, len(lines)) + 1):
        first = _first_column(node, lines[number - 1]) if number == node.line else 0
        for found in same_word.finditer(lines[number - 1], first):
            if skipped == 0:
                return Place(file=file, line=number, column=found.start() + 1)
            skipped -= 1
    return place_of(node, file)


def _first_column(node: Scalar, line: str) -> int:
    """Return the column, from 0, where a value begins in its first line; a block scalar has only `|` or `>` there."""
    first = node.column - 1
    return len(line) if line[first : first + 1] in ("|", ">") else first
