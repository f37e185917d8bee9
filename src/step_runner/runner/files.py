"""The files through which a step hands on values: one JSON object with `name` and `value` a line."""

from __future__ import annotations

import codecs
import contextlib
import os
import stat
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, assert_never

import msgspec

from step_runner.errors import OutputError
from step_runner.model import Parameter, Spec, Value, ValueType, type_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0)
"""On Windows no pipe can stand in a directory."""


ADVICE = 'write {"name": "...", "value": ...}'


class StepFiles(NamedTuple):
    """The paths of a step's output file and export file."""

    output: str
    export: str

    def make(self) -> None:
        """Make both, empty, for a command to append to. Raises OutputError where that is not possible."""
        for path in self:
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except OSError as error:
                raise OutputError(f"making {path}: {error.strerror}") from error

    def remove(self) -> None:
        """Remove both; what a step has put in their place goes with the job's directory."""
        for path in self:
            with contextlib.suppress(OSError):
                os.unlink(path)


def read_outputs(path: str, spec: Spec, *, show_lines: bool) -> dict[str, Value]:
    """The outputs that a command wrote, checked against its spec.

    `show_lines` adds a line that cannot be read to the error. Raises OutputError where a line cannot be read or
    the outputs are not those declared.
    """
    if spec.outputs == "delegate":
        return _read_delegated(path)
    return check_outputs(read_lines(path, show_lines=show_lines), spec.outputs)


def read_exports(path: str, *, show_lines: bool) -> dict[str, str]:
    """The variables that a command exported, as the environment holds them. Raises OutputError."""
    return {name: _exported(name, value) for name, value in read_lines(path, show_lines=show_lines).items()}


def read_lines(path: str, *, show_lines: bool) -> dict[str, Value]:
    """The values that stand in a file, by name; the last one of a name counts. Raises OutputError."""
    return dict(_lines(path, show_lines=show_lines))


def check_outputs(written: Mapping[str, Value], declared: Mapping[str, Parameter]) -> dict[str, Value]:
    """The outputs with the defaults of those that were not written.

    Raises OutputError for an undeclared one, one of another type, or a missing one without a default.
    """
    for name, value in written.items():
        if name not in declared:
            raise OutputError(
                f'key "{name}": unexpected output, remove from step outputs or define in step specification'
            )
        _check_type(name, declared[name].type, value)
    return {name: _given(name, written, parameter) for name, parameter in declared.items()}


def _check_type(name: str, declared: ValueType, value: Value) -> None:
    received = type_of(value)
    if received is not declared:
        raise OutputError(
            f'key "{name}": mismatched types, declared as "{declared}" in step specification'
            f' and received from step as type "{received or "null"}"'
        )


def _given(name: str, written: Mapping[str, Value], parameter: Parameter) -> Value:
    if name in written:
        return written[name]
    if parameter.default is msgspec.UNSET:
        raise OutputError(f'key "{name}": missing output, add to step outputs or remove from step specification')
    return parameter.default


def _lines(path: str, *, show_lines: bool) -> Iterator[tuple[str, Value]]:
    for number, line in enumerate(_content(path).split(b"\n"), start=1):
        if not line or line == b"\r":
            continue
        try:
            yield _name_and_value(line)
        except (OutputError, RecursionError) as error:
            shown = f", line: {line.decode(errors='replace')}" if show_lines else ""
            raise OutputError(f"failed to unmarshal JSON at line {number}: {error}{shown}") from None


def _name_and_value(line: bytes) -> tuple[str, Value]:
    try:
        entry = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise OutputError(f"{error}: {ADVICE}") from None
    if not isinstance(entry, dict):
        raise OutputError(f"it is no object: {ADVICE}")
    for key in ("name", "value"):
        if key not in entry:
            raise OutputError(f'"{key}" field is missing')
        if entry[key] is None:
            raise OutputError(f'"{key}" field value is null')
    if not isinstance(entry["name"], str):
        raise OutputError('"name" field value is not a string')
    if not entry["name"]:
        raise OutputError('"name" field value is empty')
    return entry["name"], entry["value"]


def _read_delegated(path: str) -> dict[str, Value]:
    try:
        result = msgspec.json.decode(_content(path))
    except (msgspec.DecodeError, RecursionError) as error:
        raise OutputError(f"the whole file must be one step result as JSON: {error}") from None
    if not isinstance(result, dict) or not isinstance(result.get("outputs", {}), dict):
        raise OutputError('the whole file must be one step result: a JSON object with "outputs"')
    outputs: dict[str, Value] = result.get("outputs", {})
    return outputs


def _content(path: str) -> bytes:
    try:
        # Who reads from a pipe that the step has put there would wait for somebody to write into it.
        with open(os.open(path, os.O_RDONLY | WITHOUT_WAITING), "rb") as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read() if regular else b""
    except OSError as error:
        raise OutputError(f"{error.strerror}: the step must append to {path}, not remove or replace it") from None
    if not regular:
        raise OutputError(f"no regular file: the step must append to {path}, not remove or replace it")
    return _as_utf8(content)


def _as_utf8(content: bytes) -> bytes:
    """What PowerShell has written: where nothing else is asked of it, it marks what it writes as UTF-16 or UTF-8."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace").encode()
    return content.removeprefix(codecs.BOM_UTF8)


def _exported(name: str, value: Value) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return _plain_number(value)
        case None | list() | dict():
            raise OutputError(f'key "{name}": cannot convert value type "{type_of(value) or "null"}" to string')
        case _:
            assert_never(value)


def _plain_number(value: float) -> str:
    """The shortest decimal notation without an exponent: 56.99, 5."""
    text = format(Decimal(repr(value)), "f")
    return text.removesuffix(".0")
