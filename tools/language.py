"""Finds words and forms that this project does not use, in its pages and in the texts that users see.

    python -m tools.language [FILE...]

prints each as FILE:LINE: TEXT: what to write. Pages are Markdown without its blocks of code; of a Python file it is
each string but the docstrings, and the docstring of a command, which is its help.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[1]

PAGES = ("*.md", "docs/*.md", "packages/*/*.md", "benchmarks/*.md", "examples/*/*.md", "findings/*.md")
CODE = ("src/step_runner/**/*.py", "packages/gracefulexitcmd/src/**/*.py")
GENERATED = "src/step_runner/api/pb"

START = r"(?:^(?:#+ |[-*] |\d\. |\| )?(?:\*\*)?|(?<=[.:] ))"
"""Where a sentence may begin."""

BANNED = {
    r"(?i)\b(?:nobody|somebody|everybody|anybody|whoever)\b": 'name it: "no process", "another user", "each client"',
    r"(?<!there )(?<!There )\b(?:is|are) no (?!longer\b|more\b|other\b|less\b)": '"X is not a valid Y: do Z"',
    START + r"(?:What|Who|Of those|Where) [^?|]*$": "begin with the subject",
    r"\b(?:told|looked after|blow|anew|handed on|hands? on|stands?(?!-in)|beside|round(?:s|ed)? up)\b": (
        "use the words of the man pages: report, reap, kill, again, pass, be, next to, end"
    ),
    r"\bNeeded (?:is|are)\b": "begin with the subject",
    r"\bserver of tokens\b": '"token server"',
    r"\bleft behind\b": '"background processes", "orphans"',
}
"""Patterns, and what to write in place of what they match."""


class Text(NamedTuple):
    """A text that users see, and the line where it begins."""

    line: int
    text: str


def findings(path: Path) -> Iterator[str]:
    """Yield what is wrong in a file."""
    content = path.read_text(encoding="utf-8")
    for text in _page(content) if path.suffix == ".md" else _strings(content):
        for number, line in enumerate(text.text.splitlines(), text.line):
            for pattern, advice in BANNED.items():
                if (found := re.search(pattern, line)) is not None:
                    yield f"{path.relative_to(ROOT)}:{number}: {found[0].strip()!r}: {advice}"


def _page(content: str) -> Iterator[Text]:
    """The text of a page, line by line, without code."""
    inside = False
    for number, line in enumerate(content.splitlines(), 1):
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            yield Text(number, re.sub(r"`[^`]*`|\]\([^)]*\)", "`", line))


def _strings(content: str) -> Iterator[Text]:
    tree = ast.parse(content)
    docstrings = {id(docstring) for docstring in _docstrings(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield Text(node.lineno, node.value)


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """The texts that are no part of the program: docstrings of all but commands, and those of constants."""
    for node in ast.walk(tree):
        is_command = isinstance(node, ast.FunctionDef) and "click." in "".join(map(ast.unparse, node.decorator_list))
        if isinstance(node, ast.Lambda | ast.IfExp):
            continue
        for statement in (*getattr(node, "body", ()), *getattr(node, "orelse", ())):
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and not is_command:
                yield statement.value


def files() -> Iterator[Path]:
    """Yield the pages and the code of the project."""
    for pattern in (*PAGES, *CODE):
        yield from (path for path in sorted(ROOT.glob(pattern)) if GENERATED not in path.as_posix())


def main(arguments: Iterable[str]) -> int:
    """Print what is wrong in the files, all of them without arguments; return the exit status."""
    found = [line for path in [Path(name).resolve() for name in arguments] or files() for line in findings(path)]
    print(*found, sep="\n", end="\n" * bool(found))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
