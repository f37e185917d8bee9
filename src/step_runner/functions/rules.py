"""The rules of step files that JSON Schema cannot express: a check for each value of `format` in the schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gracefulexitcmd.duration import seconds
from step_runner.errors import InputError
from step_runner.functions.reference import git_reference, oci_reference, parse_reference
from step_runner.model import ValueType, type_of
from step_runner.spelling import meant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from step_runner.model import Git, Oci

Values = dict[str, Any]


def git_of(values: Values) -> Git:
    """Return the git reference that the keys mean. Raise InputError if a value is not valid."""
    return git_reference(values["url"], values["rev"], values.get("dir", ""), values.get("file"))


def oci_of(values: Values) -> Oci:
    """Return the OCI reference that the keys mean. Raise InputError if a value is not valid."""
    place = (values["registry"], values["repository"], values["tag"])
    return oci_reference(*place, values.get("dir", ""), values.get("file"))


def _duration(text: str) -> None:
    try:
        seconds(text)
    except ValueError as error:
        raise InputError(str(error)) from None


def _complaint(make: Callable[[Values], object]) -> Callable[[Values], Iterable[tuple[str, str]]]:
    def complaints(values: Values) -> Iterable[tuple[str, str]]:
        try:
            make(values)
        except InputError as error:
            yield "", str(error)

    return complaints


def _default(values: Values) -> Iterable[tuple[str, str]]:
    """Yield a complaint if the default has another type than the declared one."""
    declared, kind = ValueType(values["type"]), type_of(values.get("default"))
    if kind is not None and kind is not declared:
        quotes = declared is ValueType.STRING and kind in (ValueType.NUMBER, ValueType.BOOLEAN)
        advice = "put it in quotes" if quotes else f"write a default of the type {declared}, or none"
        yield "default", f"the default is of the type {kind}, not {declared}; {advice}"


def _delegate(values: Values) -> Iterable[tuple[str, str]]:
    """Yield a complaint if `delegate` is not the name of a step of the run list."""
    delegate = values.get("delegate")
    if delegate is not None and "run" in values:
        names = [item["name"] for item in values["run"]]
        if delegate not in names:
            yield "delegate", f'step "{delegate[:60]}" does not exist{meant(delegate, names)}'


TEXTS: dict[str, Callable[[str], object]] = {"reference": parse_reference, "duration": _duration}
"""The function that reads a text of each format. It raises InputError if the text does not have that format."""

MAPPINGS: dict[str, Callable[[Values], Iterable[tuple[str, str]]]] = {
    "parameter": _default,
    "definition": _delegate,
    "git": _complaint(git_of),
    "oci": _complaint(oci_of),
}
"""Checks of a mapping whose keys are all valid on their own. Each yields a key, "" for the whole, and a sentence."""
