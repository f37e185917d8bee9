"""The expressions of a template, and which names they use."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from step_runner.errors import ExpressionError
from step_runner.expression.nodes import (
    Array,
    Attribute,
    Binary,
    Call,
    Index,
    Interpolation,
    Literal,
    Logical,
    Name,
    Node,
    Object,
    Unary,
)
from step_runner.expression.parser import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

Path: TypeAlias = tuple[tuple[str, int], ...]
"""The parts of `steps.build.outputs.image`, each with its offset in the template."""


MOST_ERRORS = 20
LONGEST_READ_AGAIN = 100_000


def read_expressions(template: str) -> tuple[list[Node], list[ExpressionError]]:
    """Return the expressions of a template, or no expressions and the syntax errors.

    Read on after an error, up to 20 errors. Return only the first error of a template above 100,000 characters.
    """
    errors: list[ExpressionError] = []
    while len(errors) < MOST_ERRORS:
        try:
            return [piece for piece in parse(template) if not isinstance(piece, str)], errors
        except ExpressionError as error:
            errors.append(error)
            if len(template) > LONGEST_READ_AGAIN:
                break
            template = _without(template, error.span[0])
    return [], errors


def _without(template: str, offset: int) -> str:
    """Return the template with blanks in place of the expression at an offset; the others keep their offsets."""
    start = max(template.rfind("${{", 0, offset + 3), 0)
    end = template.find("}}", max(offset, start))
    end = len(template) if end < 0 else end + 2
    return template[:start] + " " * (end - start) + template[end:]


def paths_in(nodes: list[Node]) -> list[Path]:
    """Return the paths that expressions use, each as far as it is known before evaluation."""
    waiting = list(nodes)
    paths = []
    while waiting:
        node = waiting.pop()
        if isinstance(node, Name | Attribute | Index):
            path = path_of(node, waiting)
            paths.extend([path] if path else [])
        else:
            waiting.extend(parts(node))
    return paths


def path_of(node: Node, waiting: list[Node]) -> Path:
    """Return the path that ends in a node. Append the nodes that must be evaluated for it to `waiting`."""
    parts: list[tuple[str, int]] = []
    while isinstance(node, Attribute | Index):
        if isinstance(node, Attribute):
            parts.append((node.name, node.end - len(node.name)))
        elif isinstance(node.key, Literal) and isinstance(node.key.value, str):
            parts.append((node.key.value, node.key.start))
        else:
            parts.clear()
            waiting.append(node.key)
        node = node.left
    if isinstance(node, Name):
        return ((node.name, node.start), *reversed(parts))
    waiting.append(node)
    return ()


def parts(node: Node) -> Iterator[Node]:
    """Yield the direct parts of a node; none for a literal and for a path."""
    if isinstance(node, Interpolation):
        yield from (piece for piece in node.pieces if not isinstance(piece, str))
    elif isinstance(node, Array):
        yield from node.items
    elif isinstance(node, Object):
        yield from (part for pair in node.pairs for part in pair)
    elif isinstance(node, Call):
        yield from node.arguments
    elif isinstance(node, Unary):
        yield node.operand
    elif isinstance(node, Binary | Logical):
        yield from (node.left, node.right)
