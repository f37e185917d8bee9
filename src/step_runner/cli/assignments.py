"""`KEY=VALUE` arguments, one or several at a time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def assignments(arguments: Iterable[str]) -> dict[str, str]:
    """Return the values by name; the last value of a name counts.

    Split an argument with several `=` at its commas, as CSV: `a=1,b=2` are two pairs and `a=1,2` is one. A name alone
    takes its value from the environment, because every user can read command lines, in /proc/PID/cmdline. Raise
    click.UsageError for a name that the environment does not have, and for an empty one.
    """
    return dict(_pair(part) for argument in arguments for part in _parts(argument))


def _parts(argument: str) -> Iterator[str]:
    if argument.count("=") < 2:
        yield argument
        return
    import csv

    try:
        yield from next(csv.reader([argument], strict=True), [])
    except csv.Error:
        yield argument


def _pair(part: str) -> tuple[str, str]:
    name, separator, value = part.partition("=")
    if not name:
        raise click.UsageError(f'"{part}" must be formatted as key=value')
    if separator:
        return name, value
    if name not in os.environ:
        raise click.UsageError(f'"{name}" is not set in the environment: set it, or write {name}=VALUE')
    return name, os.environ[name]
