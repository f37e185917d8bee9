"""`KEY=VALUE` arguments, one or several at a time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from step_runner.model import Typed


def assignments(arguments: Iterable[str]) -> dict[str, str]:
    """The values by name; the last one of a name counts.

    An argument with several `=` is split at its commas as CSV is, so that `a=1,b=2` are two and `a=1,2` is one. A name
    alone takes its value from the environment: command lines are shown to everybody. Raises click.UsageError for a
    name that is not there, and for an empty one.
    """
    return dict(_pair(part) for argument in arguments for part in _parts(argument))


def typed(arguments: Iterable[str]) -> dict[str, Typed]:
    """Return the same, with what each value means as YAML: `n=5` is a number, unless a string is asked for."""
    from step_runner.functions.call import typed_input

    return {name: typed_input(name, text) for name, text in assignments(arguments).items()}


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
