"""The tree of an expression: immutable nodes, each with the position of its text.

`start` and `end` are offsets in characters of the source. For an Attribute or an Index they enclose `.name` or
`[index]`, without the operand on the left. `operator_start` is the offset of a binary operator.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

Scalar: TypeAlias = "bool | int | float | str | None"


class _Node(msgspec.Struct, frozen=True, kw_only=True):
    start: int = 0
    end: int = 0


class Literal(_Node, frozen=True):
    """A number, a string without expressions, `true`, `false` or `null`."""

    value: Scalar


class Interpolation(_Node, frozen=True):
    """A double-quoted string with expressions in it: its pieces in order."""

    pieces: tuple[str | Node, ...]


class Name(_Node, frozen=True):
    """The name of a context."""

    name: str


class Array(_Node, frozen=True):
    """`[a, b]`."""

    items: tuple[Node, ...]


class Object(_Node, frozen=True):
    """`{a: b}`; a bare key is a Literal."""

    pairs: tuple[tuple[Node, Node], ...]


class Call(_Node, frozen=True):
    """`function(a, b)`."""

    function: str
    arguments: tuple[Node, ...]


class Unary(_Node, frozen=True):
    """`-a`, `+a` or `!a`."""

    operator: str
    operand: Node


class _Infix(_Node, frozen=True):
    operator: str
    left: Node
    right: Node
    operator_start: int = 0


class Binary(_Infix, frozen=True):
    """`a + b` and all operators that need both operands."""


class Logical(_Infix, frozen=True):
    """`a && b` or `a || b`: the right operand is evaluated only when it is needed."""


class Attribute(_Node, frozen=True):
    """`a.name`."""

    left: Node
    name: str


class Index(_Node, frozen=True):
    """`a[key]`."""

    left: Node
    key: Node


Operand: TypeAlias = Literal | Interpolation | Name | Array | Object | Call | Unary
Chained: TypeAlias = Binary | Logical | Attribute | Index
"""A node that begins with an operand, `left`. A chain of these is as deep as it is long: use a loop, not recursion."""

Node: TypeAlias = Operand | Chained
Piece: TypeAlias = str | Node
"""A part of a template: text that stays as it is, or an expression."""

CHAINED = (Binary, Logical, Attribute, Index)

POWERS = {
    "||": 1,
    "&&": 2,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), 3),
    **dict.fromkeys(("+", "-"), 4),
    **dict.fromkeys(("*", "/", "%"), 5),
    **dict.fromkeys((".", "["), 7),
}
"""How strongly an operator binds its operands; all operators are left-associative."""

UNARY_POWER = 6
