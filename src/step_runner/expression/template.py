"""Templates: text and nested values with `${{ }}` in them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from step_runner.errors import ExpressionError
from step_runner.expression.evaluation import Scope, compute, interpolate
from step_runner.expression.failure import EvaluationError
from step_runner.expression.parser import EXPRESSION_START, parse
from step_runner.expression.values import Secret, text_of

if TYPE_CHECKING:
    from step_runner.expression.nodes import Node, Piece
    from step_runner.model import Value

_OPENING = "${{"
_LONGEST_CACHED = 2_000
_CACHE_SIZE = 512


class Template:
    """A text that was read; `sole` is its one expression if nothing but blanks stands around it."""

    __slots__ = ("pieces", "sole", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.pieces = parse(source)
        self.sole = _sole(self.pieces)

    @classmethod
    def read(cls, source: str) -> Template:
        """The template that a text is; raises ExpressionError where an expression in it cannot be read.

        Short texts are remembered, so that a step that runs again is not read again.
        """
        return _remembered(source) if len(source) <= _LONGEST_CACHED else cls(source)

    def value(self, scope: Scope) -> Value | Secret:
        """The value of a lone expression as it is, everything else as a text; raises ExpressionError.

        Blanks around a lone expression make a text of its value too, unless that is a list or a map: a block
        scalar of YAML always ends in a line break.
        """
        if self.sole is None:
            return self.text(scope)
        try:
            value, secret = compute(self.sole, scope)
        except EvaluationError as failure:
            raise failure.error(self.source) from None
        if len(self.pieces) > 1 and not isinstance(value, list | dict):
            value = "".join(piece if isinstance(piece, str) else text_of(value) for piece in self.pieces)
        return Secret(value) if secret else value

    def text(self, scope: Scope) -> str | Secret:
        """The text with every expression replaced by the text of its value; raises ExpressionError."""
        try:
            return interpolate(self.pieces, scope)
        except EvaluationError as failure:
            raise failure.error(self.source) from None


_remembered = lru_cache(_CACHE_SIZE)(Template)


def _sole(pieces: tuple[Piece, ...]) -> Node | None:
    nodes = [piece for piece in pieces if not isinstance(piece, str)]
    blank = all(piece.isspace() for piece in pieces if isinstance(piece, str))
    return nodes[0] if blank and len(nodes) == 1 else None


def expand(value: Value, names: Mapping[str, object]) -> Value | Secret:
    """The value with every template in it expanded, also inside of lists and maps; keys stay as they are.

    A text that is one expression and nothing else becomes the expression's value, of whatever type. What an
    expression gives is not expanded again, and all numbers become IEEE doubles. If anything that went into the
    result was secret, however deep it lies there, all of the result is one Secret. Raises ExpressionError.
    """
    if isinstance(value, str) and not has_expression(value):
        return _unescape(value)
    scope = Scope(names)
    try:
        return scope.settle(_expand(value, scope, 0))
    except EvaluationError as failure:
        raise failure.error() from None
    except RecursionError:
        raise _no_stack_left() from None


def _expand(value: object, scope: Scope, depth: int) -> object:
    scope.budget.spend_item(depth)
    match value:
        case str():
            return Template.read(value).value(scope) if _OPENING in value else value
        case list() | tuple():
            return [_expand(item, scope, depth + 1) for item in value]
        case Mapping():
            return {key: _expand(item, scope, depth + 1) for key, item in value.items()}
        case _:
            return value


def expand_text(template: str, names: Mapping[str, object]) -> str | Secret:
    """The template with every expression replaced by the text of its value.

    A string is itself, null is `<null>`, a number has no needless `.0`, arrays and objects are JSON. The
    text is a Secret if anything that went into it was secret. Raises ExpressionError.
    """
    if not has_expression(template):
        return _unescape(template)
    try:
        return Template.read(template).text(Scope(names))
    except RecursionError:
        raise _no_stack_left() from None


def _no_stack_left() -> ExpressionError:
    """The limits of depth need about 500 frames; a caller who left fewer gets an error of the expected kind."""
    return ExpressionError("the expression is nested too deeply for the stack that is left")


def has_expression(text: str) -> bool:
    """Whether there is something to evaluate in the text: a `${{` without a backslash before it."""
    return EXPRESSION_START.search(text) is not None


def escape_template(text: str) -> str:
    """The template that expands to exactly this text."""
    return text.replace(_OPENING, "\\" + _OPENING)


def _unescape(text: str) -> str:
    return text.replace("\\" + _OPENING, _OPENING)
