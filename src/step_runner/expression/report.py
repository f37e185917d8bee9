"""The text of an ExpressionError: a sentence, the line it is about and a marker under the place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from step_runner.errors import ExpressionError
from step_runner.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

_WIDTH = 76
_BEFORE = 40
_QUOTED = 40


def syntax_error(source: str, start: int, end: int, message: str) -> ExpressionError:
    """Return the error for a text that is not an expression; it counts lines and columns from 1."""
    line = source.count("\n", 0, start) + 1
    column = start - source.rfind("\n", 0, start)
    return marked_error(f"parsing expression failed at {line}:{column}: {message}", source, start, end)


def marked_error(sentence: str, source: str, start: int, end: int) -> ExpressionError:
    """Return an error that shows the line of a span below the sentence, and marks the span."""
    return ExpressionError(f"{sentence}\n{_excerpt(source, start, end)}", source, (start, end))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that proposes the most similar known name; empty if none is similar."""
    near = nearest(name, known)
    return f', did you mean "{near}"?' if near else ""


def quoted(source: str, start: int, end: int) -> str:
    """Return a span of the source on one line, cut if it is long."""
    if end - start > _QUOTED:
        return _printable(source[start : start + _QUOTED]) + "..."
    return " ".join(_printable(source[start:end]).split())


def _excerpt(source: str, start: int, end: int) -> str:
    """Return the line of `source` where the span begins, cut around the span, with a marker below."""
    first = source.rfind("\n", 0, start) + 1
    last = source.find("\n", start)
    last = len(source) if last < 0 else last
    left = first if start - first <= _BEFORE else start - _BEFORE
    right = last if last - left <= _WIDTH else left + _WIDTH
    head = "..." if left > first else ""
    tail = "..." if right < last else ""
    before = head + _printable(source[left:start])
    after = _printable(source[start:right])
    marker = "^" + "~" * (_columns(after[: end - start]) - 1)
    return f"  {before}{after}{tail}\n  {_blank(before)}{marker}"


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() or each == "\t" else " " for each in text)


def _blank(text: str) -> str:
    """Return blanks as wide as the text on a terminal."""
    return "".join("\t" if each == "\t" else " " * _columns(each) for each in text)


def _columns(text: str) -> int:
    """Return the width of the text on a terminal: a Chinese character takes two columns, an accent takes none."""
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(each) else 2 if east_asian_width(each) in "WF" else 1 for each in text)
