"""The expressions of a template, and the paths in them: `steps.build.outputs.image`."""

from __future__ import annotations

from typing import TypeAlias

from step_runner.errors import ExpressionError
from step_runner.expression.nodes import Attribute, Index, Literal, Name, Node
from step_runner.expression.parser import parse

Part: TypeAlias = tuple[str, int]
"""A name in a path, and its offset in the template."""

Path: TypeAlias = tuple[Part, ...]

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


def part_of(node: Node) -> Part | None:
    """Return the name that a node adds to a path, None if it is not known before evaluation."""
    match node:
        case Name():
            return node.name, node.start
        case Attribute():
            return node.name, node.end - len(node.name)
        case Index(key=Literal(value=str() as name) as key):
            return name, key.start
        case _:
            return None


def path_of(member: Attribute | Index) -> Path:
    """Return the path of a member as far as it is known before evaluation; empty unless it begins with a name."""
    parts: list[Part] = []
    node: Node = member
    while isinstance(node, Attribute | Index):
        part = part_of(node)
        parts = [*parts, part] if part else []
        node = node.left
    root = part_of(node)
    return (root, *reversed(parts)) if root else ()
