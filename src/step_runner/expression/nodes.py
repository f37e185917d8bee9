"""The tree of an expression: immutable nodes, each with the position of its text.

`start` and `end` are offsets in characters of the source. For an Attribute or an Index they enclose `.name` or
`[index]`, without the operand on the left. `operator_start` is the offset of a binary operator.
"""

from __future__ import annotations

from typing import NoReturn, TypeAlias, dataclass_transform

Scalar: TypeAlias = "bool | int | float | str | None"


@dataclass_transform(frozen_default=True)
class _Record:
    """A small dataclass: the import of `dataclasses` would take ten milliseconds.

    Two nodes are equal if they are the same tree, at any position of their texts; `1` is not `true`.
    """

    _fields: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)

    def __init__(self, *values: object) -> None:
        self.__dict__.update(zip(self._fields, values, strict=True))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Record) or type(self) is not type(other):
            return NotImplemented
        pairs = zip(self._meaning(), other._meaning(), strict=True)
        return all(type(mine) is type(its) and mine == its for mine, its in pairs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._meaning()))})"

    def _meaning(self) -> list[object]:
        return [self.__dict__[field] for field in self._fields if field not in _PLACES]


_PLACES = ("start", "end", "operator_start")


class Literal(_Record):
    """A number, a string without expressions, `true`, `false` or `null`."""

    value: Scalar
    start: int
    end: int


class Interpolation(_Record):
    """A double-quoted string with expressions in it: its pieces in order."""

    pieces: tuple[str | Node, ...]
    start: int
    end: int


class Name(_Record):
    """The name of a context."""

    name: str
    start: int
    end: int


class Array(_Record):
    """`[a, b]`."""

    items: tuple[Node, ...]
    start: int
    end: int


class Object(_Record):
    """`{a: b}`; a bare key is a Literal."""

    pairs: tuple[tuple[Node, Node], ...]
    start: int
    end: int


class Call(_Record):
    """`function(a, b)`."""

    function: str
    arguments: tuple[Node, ...]
    start: int
    end: int


class Unary(_Record):
    """`-a`, `+a` or `!a`."""

    operator: str
    operand: Node
    start: int
    end: int


class Binary(_Record):
    """`a + b` and all operators that need both operands."""

    operator: str
    left: Node
    right: Node
    operator_start: int
    start: int
    end: int


class Logical(_Record):
    """`a && b` or `a || b`: the right operand is evaluated only when it is needed."""

    operator: str
    left: Node
    right: Node
    operator_start: int
    start: int
    end: int


class Attribute(_Record):
    """`a.name`."""

    left: Node
    name: str
    start: int
    end: int


class Index(_Record):
    """`a[key]`."""

    left: Node
    key: Node
    start: int
    end: int


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
