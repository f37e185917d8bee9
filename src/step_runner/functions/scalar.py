"""Reads a YAML value without quotes, by the core schema of YAML 1.2 with some forms of 1.1."""

from __future__ import annotations

import math
import re

WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
FIRST_OF_NUMBER = frozenset("+-.0123456789")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
INTEGERS = (
    (re.compile(r"[-+]?0[xX][0-9a-fA-F]+"), 16),
    (re.compile(r"[-+]?0[bB][01]+"), 2),
    (re.compile(r"[-+]?0[oO][0-7]+"), 8),
    (re.compile(r"[-+]?0[0-7]+"), 8),
    (re.compile(r"[-+]?[0-9]+"), 10),
)
LONGEST_NUMBER = 400
EXACT = 2**53


def scalar_value(text: str) -> str | int | float | bool | None:
    """Return the value of a text without quotes: null, a boolean, a finite number, else the text itself.

    `yes`, `1:30`, dates, `.inf` and numbers too large for a double are strings; `010` is 8, `1_000` is 1000. Beyond 64
    bits `0x`, `0b` and `0o` begin a string, and `0777` is decimal, as in Go's yaml.v3.
    """
    if text in WORDS:
        return WORDS[text]
    if text[0] not in FIRST_OF_NUMBER or len(text) > LONGEST_NUMBER:
        return text
    number = _number(text.replace("_", ""))
    return text if number is None else number


def _number(text: str) -> int | float | None:
    for pattern, base in INTEGERS:
        if pattern.fullmatch(text):
            number = int(text.replace("o", "").replace("O", "") if base == 8 else text, base)
            if -(2**63) <= number < 2**64:
                return _double(number)
    return _double(float(text)) if FLOAT.fullmatch(text) else None


def _double(number: int | float) -> int | float | None:
    """Return the number as a double; a whole number stays an integer if a double holds it exactly."""
    try:
        double = float(number)
    except OverflowError:
        return None
    if not math.isfinite(double):
        return None
    return int(double) if double.is_integer() and abs(double) <= EXACT else double
