"""Finds words and forms that this project does not use, in its pages, texts, docstrings, comments and names of tests.

    python -m tools.language [FILE...]

prints each as FILE:LINE: TEXT: what to write. Pages are Markdown without its blocks of code. Of a Python file it reads
all strings and comments; of a test only docstrings, comments and names, as its strings hold programs and data.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[1]

PAGES = ("*.md", "docs/*.md", "packages/*/*.md", "benchmarks/*.md", "examples/*/*.md", "findings/*.md")
CODE = ("src/step_runner/**/*.py", "packages/gracefulexitcmd/src/**/*.py", "tools/*.py", "benchmarks/*.py")
TESTS = ("tests/**/*.py", "packages/gracefulexitcmd/tests/**/*.py")
UNREAD = ("src/step_runner/api/pb", "tools/language.py", "tests/test_language.py")
"""Generated files, and those that hold what is banned."""

START = r"(?:^(?:#+ |[-*] |\d\. )?(?:\*\*)?|(?<=[.:] ))"
"""Where a sentence may begin."""

BANNED = {
    r"(?i)\b(?:nobody|somebody|everybody|anybody|whoever)\b": 'name it: "no process", "another user", "each client"',
    r"(?<!there )(?<!There )\b(?:is|are) no (?!longer\b|more\b|other\b|less\b)": '"X is not a valid Y: do Z"',
    START + r"(?:What|Who|Of those|Where) [^?]*$": "begin with the subject",
    r"(?i)\b(?:told|looked after|blow|anew|handed on|hands? on|stands?(?!-in)|beside|round(?:s|ed)? up)\b": (
        "use the words of the man pages: report, reap, kill, again, pass, be, next to, end"
    ),
    r"\bNeeded (?:is|are)\b": "begin with the subject",
    r"\bserver of tokens\b": '"token server"',
    r"\bleft behind\b": '"background processes", "orphans"',
    r"(?i)\b(?:lives? on|for whom|however (?:many|often))\b": '"continue", "survive"; "for which"; "any number of"',
}
"""Patterns, and what to write in place of what they match."""

LONGEST_NAME = 60
NAME = re.compile(
    r"^test_(?:an?|the|it|with(?:out)?|when|where|if|although)(?=_)"
    r"|_(?:who|whoever|whom|what|\w+body|told|tells|anew|behind|stands?|beside|handed|is_no)(?=_|$)"
)
"""Words that the name of a test does not begin with, and words that it does not hold."""


class Text(NamedTuple):
    """A text, and the line where it begins."""

    line: int
    text: str


def findings(path: Path) -> Iterator[str]:
    """Yield what is wrong in a file, in the order of its lines."""
    content = path.read_text(encoding="utf-8")
    place = path.relative_to(ROOT).as_posix()
    found: Iterable[Text]
    if path.suffix == ".md":
        found = _wrong(_page(content))
    elif "/tests/" in f"/{place}":
        found = (*_wrong((*_docstrings(content), *_comments(content))), *_names(content))
    else:
        found = _wrong((*_strings(content), *_comments(content)))
    return (f"{place}:{line}: {text}" for line, text in sorted(found))


def _wrong(texts: Iterable[Text]) -> Iterator[Text]:
    """Yield each line with a banned form, as the form and the advice."""
    for text in texts:
        for number, line in enumerate(text.text.splitlines(), text.line):
            for pattern, advice in BANNED.items():
                if (found := re.search(pattern, line.strip())) is not None:
                    yield Text(number, f"{found[0].strip()!r}: {advice}")


def _page(content: str) -> Iterator[Text]:
    """Yield the text of a page, line by line and cell by cell, without code."""
    inside = False
    for number, line in enumerate(content.splitlines(), 1):
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            text = re.sub(r"`[^`]*`|\]\([^)]*\)", "`", line)
            yield from (Text(number, cell) for cell in (text.split("|") if text.startswith("|") else [text]))


def _strings(content: str) -> Iterator[Text]:
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield Text(node.lineno, _prose(node.value))


def _docstrings(content: str) -> Iterator[Text]:
    """Yield each string that is a statement: docstrings, also those of constants."""
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield Text(node.lineno, _prose(node.value.value))


def _comments(content: str) -> Iterator[Text]:
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type == tokenize.COMMENT:
            yield Text(token.start[0], _prose(token.string.lstrip("#: ")))


def _prose(text: str) -> str:
    """Return a text with its quoted code left out; its lines keep their numbers."""
    return re.sub(r"`[^`\n]*`", "`", text)


def _names(content: str) -> Iterator[Text]:
    """Yield the names of tests that are too long, or hold a banned word."""
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            if len(node.name) > LONGEST_NAME:
                yield Text(
                    node.lineno, f"{node.name!r}: at most {LONGEST_NAME} characters; the docstring holds the rest"
                )
            if (found := NAME.search(node.name)) is not None:
                yield Text(node.lineno, f"{found[0].strip('_')!r}: test_<subject>_<verb>_<condition>")


def files() -> Iterator[Path]:
    """Yield the pages, the code and the tests of the project."""
    for pattern in (*PAGES, *CODE, *TESTS):
        yield from (
            path for path in sorted(ROOT.glob(pattern)) if not path.relative_to(ROOT).as_posix().startswith(UNREAD)
        )


def main(arguments: Iterable[str]) -> int:
    """Print what is wrong in the files, all of them without arguments; return the exit status."""
    found = [line for path in [Path(name).resolve() for name in arguments] or files() for line in findings(path)]
    print(*found, sep="\n", end="\n" * bool(found))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
