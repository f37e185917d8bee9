"""The record of a run in the form that `report.run_record` writes."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from step_runner.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Part(msgspec.Struct, frozen=True, rename="camel"):
    """A part of the record; its names are those of the JSON."""


class Signal(_Part, frozen=True):
    """A signal that was sent `after` seconds after the start of the stop."""

    name: str
    after: float
    processes: int


class Process(_Part, frozen=True):
    """A process that the stop had to end; `why` is the reason that it had not ended by itself, if known."""

    pid: int
    program: str
    argv: list[str]
    found: str
    ended_by: str | None = None
    why: str = ""


class Termination(_Part, frozen=True):
    """How the run was stopped, and the processes that it left in the background."""

    step: str
    cause: str
    duration: float = 0.0
    start_time: datetime.datetime | None = None
    hurried: str = ""
    forced: bool = False
    signals: list[Signal] = []
    census: list[Process] = []


class Paths(_Part, frozen=True):
    """The parts of a path."""

    parts: list[str] = []


class Reference(_Part, frozen=True):
    """The location of a function."""

    protocol: str = ""
    url: str = ""
    version: str = ""
    registry: str = ""
    repository: str = ""
    tag: str = ""
    path_exp: str = ""
    paths: Paths = Paths()
    filename: str = ""

    def __str__(self) -> str:
        """Return the reference as text."""
        path = "/".join(filter(None, (*self.paths.parts, self.filename)))
        match self.protocol:
            case "dist":
                return "script" if path == "script" else f"builtin://{path}"
            case "git":
                return f"{self.url}@{self.version} {path}".rstrip()
            case "oci":
                return f"{self.registry}/{self.repository}:{self.tag} {path}".rstrip()
            case _:
                return self.path_exp or path


class Call(_Part, frozen=True):
    """The function that a step calls."""

    name: str = ""
    step: Reference = Reference()
    inputs: dict[str, Any] = {}


class Executed(_Part, frozen=True):
    """A command that ran."""

    command: list[str] = []
    work_dir: str = ""
    exit_code: int = 0
    output_bytes: int = 0


class Row(NamedTuple):
    """A step at its depth, and its status; a step that was not run has no result."""

    depth: int
    call: Call
    status: str
    step: Step | None = None


class Definition(_Part, frozen=True):
    """The definition of a function, reduced to its steps."""

    steps: list[Call] = []


class Specified(_Part, frozen=True):
    """A function's specification and definition."""

    definition: Definition = Definition()


class Step(_Part, frozen=True):
    """The result of a step; `duration` is in seconds."""

    status: str
    start_time: datetime.datetime
    duration: float
    step: Call = Call()
    spec_definition: Specified = Specified()
    outputs: dict[str, Any] = {}
    exports: dict[str, str] = {}
    env: dict[str, str] = {}
    exec_result: Executed | None = None
    sub_step_results: list[Step] = []

    def rows(self, depth: int = 0) -> Iterator[Row]:
        """Yield the steps of its function. The first without a result may be the one that made the function fail."""
        for child in self.sub_step_results:
            yield Row(depth, child.step, child.status, child)
            yield from child.rows(depth + 1)
        failed = self.status == "failure" and all(child.status == "success" for child in self.sub_step_results)
        for call in self.spec_definition.definition.steps[len(self.sub_step_results) :]:
            yield Row(depth, call, "failed to start" if failed else "not run")
            failed = False


class Record(_Part, frozen=True):
    """The record of a run."""

    status: str
    exit_status: int
    start_time: datetime.datetime
    end_time: datetime.datetime
    error_kind: str = ""
    message: str = ""
    termination: Termination | None = None
    result: Step | None = None

    @property
    def rows(self) -> Iterator[Row]:
        """Yield the steps that the run ran and did not run, in order."""
        return iter(()) if self.result is None else self.result.rows()

    def since_start(self, moment: datetime.datetime) -> float:
        """Return the seconds from the start of the run to a moment."""
        return max(0.0, (moment - self.start_time).total_seconds())


def parse(content: bytes) -> Record:
    """Return the record from a report. Raise InputError for anything else."""
    try:
        return msgspec.json.decode(content, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not a report: {error}: give a file that run --report FILE.json wrote") from None
