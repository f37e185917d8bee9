"""Rules for the tests themselves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOMS = ("api", "benchmarks", "binary", "builtin", "cli", "expression", "functions", "integration", "property")
"""The rooms whose tests use nothing private of the program."""

FILES = sorted(path for room in ROOMS for path in (TESTS / room).glob("*.py"))
OWN = ("self", "cls")

OF_TUPLES = ("_asdict", "_fields", "_replace")
"""Public methods of a NamedTuple; the underscore separates them from the names of fields."""


def private_uses(path: Path) -> list[str]:
    """Return where a file uses an attribute with a leading underscore of something that is not its own."""
    return [
        f"{path.name}:{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and node.attr not in OF_TUPLES
        and not (isinstance(node.value, ast.Name) and node.value.id in OWN)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_tests_use_no_private_attributes(path: Path) -> None:
    """A test that reaches into an object breaks with each change of it, and proves nothing that a user sees."""
    assert private_uses(path) == []
