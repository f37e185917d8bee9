"""The nodes of a YAML text: scalars, lists and mappings, each with its line and column."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from step_runner.functions.scalar import scalar_value
from step_runner.model import Place, type_of

if TYPE_CHECKING:
    from step_runner.model import Value


CHARACTERS_PER_WEIGHT = 64


class Scalar(msgspec.Struct, gc=False):
    """A single value: `text` as written, without quotes. Only a `plain` one may have another type than string.

    `last_line` is the last line of the file that may hold a part of the value.
    """

    text: str
    plain: bool
    line: int
    column: int
    last_line: int

    @property
    def weight(self) -> int:
        """Return how much the value counts towards the bound of a text."""
        return 1 + len(self.text) // CHARACTERS_PER_WEIGHT

    @property
    def value(self) -> str | int | float | bool | None:
        """Return the value that the text means."""
        return scalar_value(self.text) if self.plain else self.text


class Entry(msgspec.Struct):
    """One `key: value` of a mapping."""

    key: Scalar
    node: Node


class Listing(msgspec.Struct):
    """A list; `weight` counts all its content with aliases expanded, `height` its levels of nesting."""

    items: list[Node]
    line: int
    column: int
    weight: int = 1
    height: int = 1


class Mapping(msgspec.Struct):
    """A mapping by the text of its keys, in the order of the file, with merged keys last."""

    entries: dict[str, Entry]
    line: int
    column: int
    weight: int = 1
    height: int = 1


Node: TypeAlias = Scalar | Listing | Mapping


def value_of(node: Node) -> Value:
    """Return the JSON value that a node means; keys are the text as written."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Listing):
        return [value_of(item) for item in node.items]
    return {key: value_of(entry.node) for key, entry in node.entries.items()}


def is_null(node: Node) -> bool:
    """Return whether a node is one of the forms of null, such as an empty value."""
    return isinstance(node, Scalar) and node.plain and node.value is None


def kind_of(node: Node) -> str:
    """Return the type of a node in the words of a message: `a string`, `a list`; null is `empty`."""
    if isinstance(node, Listing):
        return "a list"
    if isinstance(node, Mapping):
        return "a mapping"
    kind = type_of(node.value)
    return "empty" if kind is None else kind.article


def find(node: Node, *path: str | int) -> Node:
    """Return the node at the end of a path of keys and indices, or the last node of the path that exists."""
    for step in path:
        following = child(node, step)
        if following is None:
            return node
        node = following
    return node


def child(node: Node, step: str | int) -> Node | None:
    """Return the item of a list or the value of a key, None if there is none."""
    if isinstance(node, Mapping) and isinstance(step, str) and step in node.entries:
        return node.entries[step].node
    if isinstance(node, Listing) and isinstance(step, int) and step < len(node.items):
        return node.items[step]
    return None


def place_of(node: Node, file: str) -> Place:
    """Return the place where a node begins."""
    return Place(file=file, line=node.line, column=node.column)
