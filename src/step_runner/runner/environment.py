"""Environment variables that come from several places."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

V = TypeVar("V")


def merged(*environments: Mapping[str, V]) -> dict[str, V]:
    """One environment, in which the later ones win; on Windows `Path` and `PATH` are one variable."""
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
