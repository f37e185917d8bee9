"""The files through which a step returns values: each line is a JSON object with `name` and `value`."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import errno
import io
import os
import re
import stat
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, TypeVar, assert_never

import msgspec

from step_runner.errors import ExpressionError, OutputError
from step_runner.expression import Unwritten, reveal
from step_runner.model import Parameter, Spec, Value, type_of
from step_runner.runner import environment, exec_space

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")

WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0)
"""Flag for open(2). Windows has no pipes in directories."""

ADVICE = 'write {"name": "...", "value": ...}'

MOST_BYTES = 16 * 1024 * 1024
"""Most bytes of an output or export file."""

LARGE = 64 * 1024
"""Bytes from which on a thread reads a file: that takes a few milliseconds."""

LONGEST_SHOWN = 200
"""Most characters of a line in an error."""

HALF_A_PAIR = re.compile(rb"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..\\u[dD])[c-fC-F]..)")
"""A JSON escape for one half of a surrogate pair, without the other half."""

TAKEN_APART = re.compile(r"""[\s'"`$&|;<>()*?\[\]{}#!]""")
"""Characters at which a shell splits a word, or that a shell expands."""


class StepFiles(NamedTuple):
    """The paths of a step's output file and export file."""

    output: str
    export: str

    def make(self) -> None:
        """Make both files, empty, for a command to append to. Raise OutputError when they cannot be made."""
        for path in self:
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except OSError as error:
                raise OutputError(f"making {path}: {error.strerror}") from error

    def remove(self) -> None:
        """Remove both files. Anything else that a step has put there is removed with the job's directory."""
        for path in self:
            with contextlib.suppress(OSError):
                os.unlink(path)


class Source(NamedTuple):
    """One of these files, and its name in errors. With `show_lines`, errors quote an unreadable line.

    A file that was not `made` may be missing: it is then empty.
    """

    path: str
    label: str
    show_lines: bool = False
    made: bool = True

    @contextlib.contextmanager
    def at(self, number: int | None = None) -> Iterator[None]:
        """Prefix an OutputError with the name of the file and the number of the line."""
        try:
            yield
        except OutputError as error:
            raise self.fault(str(error), number) from None

    def fault(self, sentence: str, number: int | None = None) -> OutputError:
        """Return an error about the file, or about one line of it."""
        line = "" if number is None else f", line {number}"
        return OutputError(f"{self.label}{line}: {sentence}")

    def shown(self, line: bytes) -> str:
        """Return the line as errors quote it; empty if they quote none."""
        return f", line: {line[:LONGEST_SHOWN].decode(errors='replace')}" if self.show_lines else ""

    @property
    def is_large(self) -> bool:
        """Whether reading the file takes so long that a thread should do it."""
        return LARGE < (self.size or 0) <= MOST_BYTES

    @property
    def size(self) -> int | None:
        """The number of bytes; None if it is not a regular file."""
        try:
            status = os.stat(self.path)
        except OSError as error:
            return 0 if error.errno == errno.ENOENT and not self.made else None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    async def read(self, parse: Callable[[Source], T]) -> T:
        """Read the file. A thread reads a large one, so that other jobs go on meanwhile."""
        if self.is_large:
            with contextlib.suppress(RuntimeError):  # no thread can start: the user has reached the limit of processes
                return await asyncio.to_thread(parse, self)
        return parse(self)

    @property
    def lost(self) -> str:
        """The probable reason for an empty file; empty if the path needs no quotes."""
        if not TAKEN_APART.search(self.path):
            return ""
        name = self.label.partition(" of ")[0].replace(" ", "_")
        quoted = f'"${{{{ {name} }}}}"'
        return f"; the path {self.path} means something else to a shell unless it is quoted: write > {quoted}"


class Line(NamedTuple):
    """The number of a line, counted from 1, and its value."""

    number: int
    value: Value


def read_outputs(source: Source, spec: Spec) -> dict[str, Value]:
    """Return the outputs that a command wrote, and the defaults of the others.

    Raise OutputError when a line cannot be read, or when the outputs are not the declared ones.
    """
    if spec.outputs == "delegate":
        return _read_delegated(source)
    lines = _last_lines(source)
    for name, line in lines.items():
        with source.at(line.number):
            check_output(name, line.value, spec.outputs)
    with source.at():
        return with_defaults(_values(lines), spec.outputs, "" if lines else source.lost)


def read_exports(source: Source, total: Callable[[Mapping[str, str]], int]) -> dict[str, str]:
    """Return the variables that a command exported, as the environment holds them.

    `total` is that of `exec_space.complaint`. Raise OutputError when they cannot be variables, or when no
    process could start with them.
    """
    exports: dict[str, str] = {}
    lines = _last_lines(source)
    for name, line in lines.items():
        with source.at(line.number):
            exports[name] = _exported(name, line.value)
    if (complaint := exec_space.complaint(exports, total)) is not None:
        raise source.fault(complaint, lines[exec_space.largest(exports)[0]].number)
    return exports


def read_any_outputs(source: Source) -> dict[str, Value]:
    """Return the outputs of a command that may write any. Raise OutputError when a line cannot be read."""
    return _values(_last_lines(source)) or Unwritten(source.lost)


def check_outputs(written: Mapping[str, Value], declared: Mapping[str, Parameter]) -> dict[str, Value]:
    """Return the outputs, and the defaults of those that were not written.

    Raise OutputError for an undeclared one, one of another type, or a missing one without a default.
    """
    for name, value in written.items():
        check_output(name, value, declared)
    return with_defaults(written, declared)


def check_output(name: str, value: Value, declared: Mapping[str, Parameter]) -> None:
    """Raise OutputError for an output that is not declared or has another type."""
    if name not in declared:
        raise OutputError(
            f'key "{_short(name)}": unexpected output, remove from step outputs or define in step specification'
        )
    received = type_of(value)
    if received is not declared[name].type:
        raise OutputError(
            f'key "{name}": mismatched types, declared as "{declared[name].type}" in step specification'
            f' and received from step as type "{received or "null"}"'
        )


def with_defaults(written: Mapping[str, Value], declared: Mapping[str, Parameter], hint: str = "") -> dict[str, Value]:
    """Return all declared outputs. Raise OutputError, with the hint, for a missing one without a default."""
    return {name: _given(name, written, parameter, hint) for name, parameter in declared.items()}


def _given(name: str, written: Mapping[str, Value], parameter: Parameter, hint: str) -> Value:
    if name in written:
        return written[name]
    if parameter.default is msgspec.UNSET:
        advice = "add to step outputs or remove from step specification"
        raise OutputError(f'key "{name}": missing output, {advice}{hint}')
    return parameter.default


def _values(lines: Mapping[str, Line]) -> dict[str, Value]:
    return {name: line.value for name, line in lines.items()}


def _last_lines(source: Source) -> dict[str, Line]:
    """Return the lines of a file by name; the last line of a name counts."""
    lines: dict[str, Line] = {}
    for number, line in enumerate(io.BytesIO(_content(source)), start=1):
        text = line.removesuffix(b"\n")
        if text not in (b"", b"\r"):
            try:
                name, value = _name_and_value(text)
            except OutputError as error:
                raise source.fault(f"{error}{source.shown(text)}", number) from None
            lines[name] = Line(number, value)
    return lines


def _name_and_value(line: bytes) -> tuple[str, Value]:
    entry = _decoded(line)
    if not isinstance(entry, dict):
        raise OutputError(f"not a JSON object: {ADVICE}")
    for key in ("name", "value"):
        if key not in entry:
            raise OutputError(f'"{key}" field is missing')
        if entry[key] is None:
            raise OutputError(f'"{key}" field value is null')
    if not isinstance(entry["name"], str):
        raise OutputError('"name" field value is not a string')
    if not entry["name"]:
        raise OutputError('"name" field value is empty')
    return entry["name"], _usable(entry["name"], entry["value"])


def _decoded(text: bytes) -> object:
    """Return the value of a JSON text. Raise OutputError."""
    try:
        text.decode()
        return msgspec.json.decode(text)
    except UnicodeDecodeError as error:
        fault = f"byte {error.start + 1} is 0x{text[error.start]:02x}, which is not valid UTF-8: write UTF-8"
    except RecursionError:
        fault = "the value is nested too deeply: make it flatter"
    except msgspec.ValidationError:  # no type is requested, so only a number can fail
        fault = "a number is larger than a double can be: write a smaller one, or a string"
    except msgspec.DecodeError as error:
        pair = HALF_A_PAIR.search(text)
        half = "" if pair is None else pair.group().decode(errors="replace")
        fault = f'"{half}" is half of a surrogate pair: write both halves' if pair else f"{error}: {ADVICE}"
    raise OutputError(fault)


def _usable(name: str, value: object) -> Value:
    """Return the value for expressions. Raise OutputError for a value that expressions cannot hold."""
    try:
        return reveal(value)
    except ExpressionError as error:
        raise OutputError(f'key "{_short(name)}": {error}') from None


def _read_delegated(source: Source) -> dict[str, Value]:
    content = _content(source)
    with source.at():
        try:
            result = _decoded(content)
        except OutputError as error:
            raise OutputError(f"the whole file must be one step result as JSON: {error}") from None
        outputs = result.get("outputs", {}) if isinstance(result, dict) else None
        if not isinstance(outputs, dict):
            raise OutputError('the whole file must be one step result: a JSON object with "outputs"')
        return {name: _usable(name, value) for name, value in outputs.items()}


def _content(source: Source) -> bytes:
    if source.size == 0:  # the usual case: no need to open it
        return b""
    with source.at():
        advice = f"the step must append to {source.path}, not remove or replace it"
        try:
            # Without O_NONBLOCK an open of a FIFO blocks until it has a writer, fifo(7): a step may have put one there.
            descriptor = os.open(source.path, os.O_RDONLY | WITHOUT_WAITING)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise OutputError(f"not a regular file: {advice}")
                return _as_utf8(_read(descriptor))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise OutputError(f"{error.strerror}: {advice}") from None


def _read(descriptor: int) -> bytes:
    """Return the content of a file that may still grow."""
    if os.fstat(descriptor).st_size <= MOST_BYTES:
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) <= MOST_BYTES:
            return content
    raise OutputError(f"larger than {MOST_BYTES // 1024**2} MiB: write large values to files, and their paths here")


def _as_utf8(content: bytes) -> bytes:
    """Return the content without PowerShell's encoding: by default it writes UTF-16 or UTF-8 with a byte order mark."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace").encode()
    return content.removeprefix(codecs.BOM_UTF8)


def _exported(name: str, value: Value) -> str:
    text = _as_text(name, value)
    if (complaint := environment.complaint(name, text)) is not None:
        raise OutputError(complaint)
    return text


def _as_text(name: str, value: Value) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return _plain_number(value)
        case None | list() | dict():
            raise OutputError(f'key "{_short(name)}": cannot convert value type "{type_of(value) or "null"}" to string')
        case _:
            assert_never(value)


def _plain_number(value: float) -> str:
    """Return the shortest decimal notation without an exponent: 56.99, 5."""
    text = format(Decimal(repr(value)), "f")
    return text.removesuffix(".0")


def _short(name: str) -> str:
    return name[:LONGEST_SHOWN]
