"""Makes foreign texts safe to show: they cannot control a terminal or forge a line of output."""

from __future__ import annotations

INDENTED = "\n  "
"""The start of each continuation line of a message, such as an excerpt; no other line of ours starts like this."""


def name(text: str) -> str:
    """Return a text that stays on one line."""
    if text.isprintable():
        return text
    from gracefulexitcmd.program import printable  # heavier than a `--help` can afford

    return printable(text)


def shortened(text: str, most: int) -> str:
    """Return a text of at most this many characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def message(text: str) -> str:
    """Return a message; lines after INDENTED stay separate lines, any other line break is written as `\\n`."""
    return INDENTED.join(_with_tabs(part) for part in text.split(INDENTED))


def lines(text: str) -> str:
    """Return a text of several messages, each on a line of its own."""
    return "\n".join(_with_tabs(line) for line in text.split("\n"))


def _with_tabs(text: str) -> str:
    return "\t".join(name(part) for part in text.split("\t"))
