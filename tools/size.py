"""Prints the lines of code by room: without blanks, comments and docstrings; generated code apart."""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter
from pathlib import Path

ROOTS = (Path("src"), Path("packages/gracefulexitcmd/src"))
GENERATED = Path("src/step_runner/api/pb")
NO_CODE = frozenset(
    {
        *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
        *(tokenize.ENCODING, tokenize.ENDMARKER),
    }
)


def main() -> None:
    """Print the rooms of each root, its total, and the generated code."""
    for root in ROOTS:
        rooms = Counter[str]()
        for path in files(root):
            rooms[room(path.relative_to(root))] += code_lines(path.read_text(encoding="utf-8"))
        for name, lines in sorted(rooms.items()):
            print(f"{lines:6} {name}")
        print(f"{rooms.total():6} total of {root}\n")
    generated = sum(code_lines(path.read_text(encoding="utf-8")) for path in GENERATED.rglob("*.py"))
    print(f"{generated:6} generated: {GENERATED}")


def files(root: Path) -> list[Path]:
    """Return the modules below a root that a person has written."""
    return [path for path in root.rglob("*.py") if GENERATED not in path.parents]


def room(path: Path) -> str:
    """Return the package that a module belongs to, two levels deep; a module outside the rooms belongs to none."""
    return "/".join(path.parts[:2] if len(path.parts) > 2 else path.parts[:1])


def code_lines(text: str) -> int:
    """Count the lines that hold a token of code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstring_lines(text))


def docstring_lines(text: str) -> set[int]:
    """Return the lines of strings that are statements, such as the description of a constant."""
    return {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


if __name__ == "__main__":
    main()
