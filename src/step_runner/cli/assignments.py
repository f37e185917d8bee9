"""`KEY=VALUE` arguments, one or several at a time."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from step_runner.model import Value


def assignments(arguments: Iterable[str]) -> dict[str, str]:
    """The values by name; the last one of a name counts.

    An argument with several `=` is split at its commas as CSV is, so that `a=1,b=2` are two and `a=1,2` is one.
    Raises click.UsageError for one without `=`.
    """
    return dict(_pair(part) for argument in arguments for part in _parts(argument))


def values(arguments: Iterable[str]) -> dict[str, Value]:
    """The same, with each value read as YAML: `n=5` is a number, `b=true` a boolean, `s='5'` a string.

    Raises click.UsageError for a value that is no YAML.
    """
    return {name: _value(name, text) for name, text in assignments(arguments).items()}


def _parts(argument: str) -> Iterator[str]:
    if argument.count("=") < 2:
        yield argument
        return
    try:
        yield from next(csv.reader([argument], strict=True), [])
    except csv.Error:
        yield argument


def _pair(part: str) -> tuple[str, str]:
    name, separator, value = part.partition("=")
    if not separator or not name:
        raise click.UsageError(f'"{part}" must be formatted as key=value')
    return name, value


def _value(name: str, text: str) -> Value:
    from step_runner.errors import FunctionFileError
    from step_runner.functions.document import read_documents
    from step_runner.functions.nodes import value_of

    try:
        nodes = read_documents(text, name, most=1).nodes
    except FunctionFileError as error:
        raise click.UsageError(f'the value of "{name}" is no YAML: {error}') from error
    return value_of(nodes[0]) if nodes else None
