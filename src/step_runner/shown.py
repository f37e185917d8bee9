"""Texts of files and other people as they may be shown: nothing in them commands a terminal or forges a line."""

from __future__ import annotations

INDENTED = "\n  "
"""How a line begins that goes on with a message, such as an excerpt; no line of ours begins so otherwise."""


def name(text: str) -> str:
    """Return a text that stays on one line."""
    if text.isprintable():
        return text
    from gracefulexitcmd.program import printable  # heavier than a `--help` can afford

    return printable(text)


def message(text: str) -> str:
    """Return a message whose every line but the first is indented; another line break is written as `\\n`."""
    return INDENTED.join(_with_tabs(part) for part in text.split(INDENTED))


def lines(text: str) -> str:
    """Return a text of several messages, each on a line of its own."""
    return "\n".join(_with_tabs(line) for line in text.split("\n"))


def _with_tabs(text: str) -> str:
    return "\t".join(name(part) for part in text.split("\t"))
