"""Words from elsewhere, made fit to be shown to a person."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable


def one_line(text: str) -> str:
    """At most 200 characters, on one line, without what a terminal takes for a command."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:200]


def struck_out(text: str, secrets: Iterable[str]) -> str:
    """The whole text, before anything is cut off, with each secret struck out, as it is and as URLs and forms have it.

    Upper and lower case are the same here, as they are in the name of a host and in `%2F`.
    """
    written = {form for secret in secrets for form in (secret, quote(secret), quote(secret, ""), quote_plus(secret))}
    longest_first = sorted(written - {""}, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), "***", text, flags=re.IGNORECASE) if longest_first else text
