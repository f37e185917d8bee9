"""What JSON Schema cannot say of a step file: the values of `format` in the schema, and what they ask for."""

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
    """Return the git reference that the keys mean. Raises InputError."""
    return git_reference(values["url"], values["rev"], values.get("dir") or "", values.get("file"))


def oci_of(values: Values) -> Oci:
    """Return the OCI reference that the keys mean. Raises InputError."""
    place = (values["registry"], values["repository"], values["tag"])
    return oci_reference(*place, values.get("dir") or "", values.get("file"))


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
    """A default of another type than the declared one."""
    declared, kind = ValueType(values["type"]), type_of(values.get("default"))
    if kind is not None and kind is not declared:
        quotes = declared is ValueType.STRING and kind in (ValueType.NUMBER, ValueType.BOOLEAN)
        advice = "put it in quotes" if quotes else f"write a default of the type {declared}, or none"
        yield "default", f"the default is of the type {kind}, not {declared}; {advice}"


def _delegate(values: Values) -> Iterable[tuple[str, str]]:
    """A `delegate` that names no step of the run list."""
    delegate = values.get("delegate")
    if delegate is not None and "run" in values:
        names = [item["name"] for item in values["run"]]
        if delegate not in names:
            yield "delegate", f'there is no step "{delegate[:60]}"{meant(delegate, names)}'


TEXTS: dict[str, Callable[[str], object]] = {"reference": parse_reference, "duration": _duration}
"""What reads a text of a format. It raises InputError where the text is not of that format."""

MAPPINGS: dict[str, Callable[[Values], Iterable[tuple[str, str]]]] = {
    "parameter": _default,
    "definition": _delegate,
    "git": _complaint(git_of),
    "oci": _complaint(oci_of),
}
"""What is wrong with a mapping although each key alone is right: the key, "" for all of it, and a sentence."""
