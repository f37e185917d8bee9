"""Templates: text and nested values with `${{ }}` in them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from step_runner.errors import ExpressionError
from step_runner.expression.evaluation import Scope, compute, interpolate
from step_runner.expression.failure import EvaluationError
from step_runner.expression.parser import EXPRESSION_START, parse
from step_runner.expression.values import text_of
from step_runner.model import Secret

if TYPE_CHECKING:
    from step_runner.expression.nodes import Node, Piece
    from step_runner.model import Value

_OPENING = "${{"
_LONGEST_CACHED = 2_000
_CACHE_SIZE = 512


class Template:
    """A parsed text; `sole` is its only expression, if the rest of the text is blank."""

    __slots__ = ("pieces", "sole", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.pieces = parse(source)
        self.sole = _sole(self.pieces)

    @classmethod
    def read(cls, source: str) -> Template:
        """Parse a text. Raise ExpressionError where an expression in it is not valid.

        Short texts are cached, so that a step that runs again is not parsed again.
        """
        return _remembered(source) if len(source) <= _LONGEST_CACHED else cls(source)

    def value(self, scope: Scope) -> Value | Secret:
        """Return the value of a sole expression, and the text of any other template. Raise ExpressionError.

        Blanks around a sole expression turn its value into a text, too, but never a list or a map: a block scalar of
        YAML always ends in a line break.
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
        """Return the text with each expression replaced by the text of its value. Raise ExpressionError."""
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
    """Expand each template in the value, also inside lists and maps; keys stay as they are. Raise ExpressionError.

    A text that is one expression and nothing else becomes the expression's value, of any type. The result of an
    expression is not expanded again, and all numbers become IEEE doubles. If any part of the result is secret, at any
    depth, the whole result is one Secret.
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
    """Return the template with each expression replaced by the text of its value.

    A string stays as it is, null becomes `<null>`, a number has no needless `.0`, arrays and objects become JSON.
    The result is a Secret if one of the values is secret. Raise ExpressionError.
    """
    if not has_expression(template):
        return _unescape(template)
    try:
        return Template.read(template).text(Scope(names))
    except RecursionError:
        raise _no_stack_left() from None


def _no_stack_left() -> ExpressionError:
    """Return the error for a caller that leaves too few frames: the limits of depth need about 500."""
    return ExpressionError("the expression is nested too deeply for the stack that is left")


def has_expression(text: str) -> bool:
    """Return whether the text contains an expression: a `${{` without a backslash before it."""
    return EXPRESSION_START.search(text) is not None


def escape_template(text: str) -> str:
    """Return the template that expands to exactly this text."""
    return text.replace(_OPENING, "\\" + _OPENING)


def _unescape(text: str) -> str:
    return text.replace("\\" + _OPENING, _OPENING)
