"""Explains why an existing script cannot run: its first line names a missing interpreter."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST = 256
"""Bytes of a first line that the kernel reads: BINPRM_BUF_SIZE, execve(2)."""

MOST_WORDS = 1000


def explanation(argv: Iterable[str], work_dir: str) -> str:
    """Return the end of a sentence about the first script at fault among the words of a command.

    It is empty when no first line explains the failure.
    """
    sentences = (_sentence(word, first) for word, first in _first_lines(argv, work_dir))
    return next(filter(None, sentences), "")


def _sentence(script: str, first: bytes) -> str:
    shown = first.decode(errors="replace").strip()
    if first.endswith(b"\r\n"):
        return f': the first line of {script}, "{shown}", ends in CR LF: save the file with LF as its line ends'
    words = shown.removeprefix("#!").split()
    if words and not os.path.exists(words[0]):
        return f": the first line of {script} names {words[0]}, which does not exist"
    return ""


def _first_lines(argv: Iterable[str], work_dir: str) -> Iterator[tuple[str, bytes]]:
    """Yield the first lines of the scripts that a command names by path, also in the text of a shell script."""
    words = [word for text in argv for word in text.split()[:MOST_WORDS]]
    for word in words[:MOST_WORDS]:
        path = os.path.join(work_dir, word)
        if "/" in word and "\0" not in word and os.path.isfile(path):
            first = _first_line(path)
            if first.startswith(b"#!"):
                yield word, first


def _first_line(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.readline(LONGEST)
    except OSError:
        return b""
