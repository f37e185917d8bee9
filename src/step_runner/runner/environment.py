"""Environment variables that come from several places."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

V = TypeVar("V")

LONGEST_SHOWN = 200
"""Most characters of a name in an error."""


def merged(*environments: Mapping[str, V]) -> dict[str, V]:
    """Return one environment, in which later ones win. On Windows `Path` and `PATH` are one variable."""
    result: dict[str, V] = {}
    for environment in environments:
        if sys.platform == "win32":
            _replace_whatever_case(result, environment)
        else:
            result.update(environment)
    return result


def _replace_whatever_case(result: dict[str, V], environment: Mapping[str, V]) -> None:
    spelled = {name.upper(): name for name in result}
    for name, value in environment.items():
        result.pop(spelled.get(name.upper(), name), None)
        result[name] = value
        spelled[name.upper()] = name


def complaint(name: str, value: str) -> str | None:
    """Return the reason why a name and a value cannot be an environment variable, None if they can."""
    if not name:
        return "the name of an environment variable is empty: give it one"
    shown = name[:LONGEST_SHOWN].replace("\0", "\\0")
    if "=" in name:
        return f'"{shown}" is not a valid name of an environment variable: use one without "="'
    for what, text in ((f'the name "{shown}"', name), (f'the value of "{shown}"', value)):
        if (fault := fault_of(text)) is not None:
            return f"{what} {fault}"
    return None


def fault_of(text: str) -> str | None:
    """Return the reason why a text cannot be an argument or an environment variable, None if it can."""
    if "\0" in text:
        return "holds a NUL character, which no process can be given: remove it"
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        return f"holds half of a surrogate pair, U+{ord(text[error.start]):04X}: write whole characters"
    return None
