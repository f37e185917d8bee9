"""Prints the tree of an expression as a text that parses to the same tree."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, assert_never

import msgspec

from step_runner.expression.lexer import WORD
from step_runner.expression.nodes import (
    CHAINED,
    POWERS,
    UNARY_POWER,
    Array,
    Attribute,
    Binary,
    Call,
    Chained,
    Index,
    Interpolation,
    Literal,
    Logical,
    Name,
    Object,
    Unary,
)
from step_runner.expression.values import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from step_runner.expression.nodes import Node, Operand, Piece

_OPERAND_POWER = 8
_PLACES = ("start", "end", "operator_start")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def meaning(part: object) -> object:
    """Return a value that is equal for equal trees, at any position of their texts; `1` is not `true`."""
    if isinstance(part, tuple):
        return [meaning(item) for item in part]
    if not isinstance(part, msgspec.Struct):
        return type(part), part
    fields = msgspec.structs.asdict(part).items()
    return type(part), [meaning(value) for name, value in fields if name not in _PLACES]


def print_template(pieces: Iterable[Piece]) -> str:
    """Return the text of a template from the result of `parse`."""
    texts = (
        piece.replace("${{", "\\${{") if isinstance(piece, str) else "${{ " + print_expression(piece) + " }}"
        for piece in pieces
    )
    return "".join(texts)


def print_expression(node: Node) -> str:
    """Return the text of an expression, with brackets only where the tree needs them."""
    path: list[Chained] = []
    while isinstance(node, CHAINED):
        path.append(node)
        node = node.left
    text, power = _operand(node), _power(node)
    for outer in reversed(path):
        left = text if power >= _power(outer) else f"({text})"
        text, power = left + _continuation(outer), _power(outer)
    return text


def _power(node: Node) -> int:
    match node:
        case Binary() | Logical():
            return POWERS[node.operator]
        case Unary():
            return UNARY_POWER
        case Attribute() | Index():
            return POWERS["."]
        case _:
            return _OPERAND_POWER


def _enclosed(node: Node, power: int) -> str:
    text = print_expression(node)
    return text if _power(node) >= power else f"({text})"


def _continuation(node: Chained) -> str:
    match node:
        case Binary() | Logical():
            return f" {node.operator} {_enclosed(node.right, POWERS[node.operator] + 1)}"
        case Attribute():
            return f".{node.name}"
        case Index():
            return f"[{print_expression(node.key)}]"
    assert_never(node)


def _operand(node: Operand) -> str:
    match node:
        case Literal():
            return _quote(node.value) if isinstance(node.value, str) else _constant(node.value)
        case Interpolation():
            pieces = (_escape(piece) if isinstance(piece, str) else print_template([piece]) for piece in node.pieces)
            return f'"{"".join(pieces)}"'
        case Name():
            return node.name
        case Array():
            return f"[{', '.join(map(print_expression, node.items))}]"
        case Object():
            return f"{{{', '.join(f'{_key(key)}: {print_expression(value)}' for key, value in node.pairs)}}}"
        case Call():
            return f"{node.function}({', '.join(map(print_expression, node.arguments))})"
        case Unary():
            return node.operator + _enclosed(node.operand, UNARY_POWER)
    assert_never(node)


def _constant(value: float | None) -> str:
    return "null" if value is None else text_of(value)


def _key(node: Node) -> str:
    if isinstance(node, Literal) and isinstance(node.value, str):
        return node.value if re.fullmatch(WORD, node.value) else _quote(node.value)
    return f"({print_expression(node)})"


def _quote(text: str) -> str:
    return f'"{_escape(text)}"'


def _escape(text: str) -> str:
    return text.translate(_ESCAPES).replace("${{", "\\${{")
