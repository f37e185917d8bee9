"""The values that the rooms of the step runner hand to each other; all of them are immutable."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Literal, TypeAlias, assert_never

import msgspec
from msgspec import UNSET, UnsetType

from gracefulexitcmd import Exit
from step_runner import shown

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
"""What an input, an output or an expression can hold: the values of JSON."""


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable record with named fields."""


class ValueType(enum.StrEnum):
    """The declared type of an input or an output."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ARRAY = "array"
    STRUCT = "struct"

    @property
    def article(self) -> str:
        """The type with its article, such as `an array`."""
        return f"{'an' if self is ValueType.ARRAY else 'a'} {self}"


def type_of(value: Value) -> ValueType | None:
    """The type that a value has; None for null, which fits no type."""
    match value:
        case None:
            return None
        case bool():
            return ValueType.BOOLEAN
        case int() | float():
            return ValueType.NUMBER
        case str():
            return ValueType.STRING
        case list():
            return ValueType.ARRAY
        case dict():
            return ValueType.STRUCT
        case _:
            assert_never(value)


class Place(Struct, frozen=True):
    """A place in a text: the file's name as the user knows it, line and column counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Problem(Struct, frozen=True):
    """Something wrong in a step file; a warning does not keep the file from running."""

    place: Place
    message: str
    warning: bool = False

    def __str__(self) -> str:
        return shown.message(f"{self.place}: {'warning: ' if self.warning else ''}{self.message}")


# References: where a function is found.


class Local(Struct, frozen=True, tag="local"):
    """A function in a directory of this machine: `./dir`, `/dir`, `./dir/other.yml`."""

    path: str
    file: str | None = None


class Git(Struct, frozen=True, tag="git"):
    """A function in a git repository; `directory` is relative to the repository's root."""

    url: str
    revision: str
    directory: str = ""
    file: str | None = None


class Oci(Struct, frozen=True, tag="oci"):
    """A function in an OCI registry; `tag` may be a digest `sha256:...`."""

    registry: str
    repository: str
    tag: str = "latest"
    directory: str = ""
    file: str | None = None


class Builtin(Struct, frozen=True, tag="builtin"):
    """A function that comes with the step runner."""

    name: str


class Dynamic(Struct, frozen=True, tag="dynamic"):
    """A reference with an expression in it: expanded just before the step runs, then read."""

    template: str


Reference: TypeAlias = Local | Git | Oci | Builtin | Dynamic


# Functions: what a step file says.


class Parameter(Struct, frozen=True):
    """A declared input or output; without a default an input is required and an output must be written."""

    type: ValueType
    default: Value | UnsetType = UNSET
    sensitive: bool = False
    description: str = ""


class Spec(Struct, frozen=True):
    """The first document of a step file: what a function takes and gives."""

    inputs: Mapping[str, Parameter] = {}
    outputs: Mapping[str, Parameter] | Literal["delegate"] = {}


class Script(Struct, frozen=True, tag="script"):
    """The text of a `script:`, run by the shell."""

    text: str


SCRIPT_SPEC = Spec(inputs={"script": Parameter(type=ValueType.STRING, sensitive=True)})
"""What the function takes that a `script:` calls, which is also `builtin://script`."""


class Typed(Struct, frozen=True):
    """An input as a person typed it: for a string the text, for other types its value as YAML.

    `value` is absent where the text is no YAML; `fault` says why.
    """

    text: str
    value: Value | UnsetType = UNSET
    fault: str = ""


class Step(Struct, frozen=True):
    """One item of a `run` list: what to call, with templates for its inputs and environment.

    The inputs that were `typed` on a command line win over the others.
    """

    name: str
    call: Reference | Script
    inputs: Mapping[str, Value] = {}
    typed: Mapping[str, Typed] = {}
    env: Mapping[str, str] = {}
    place: Place | None = None


class StopStage(Struct, frozen=True):
    """A signal by its name, the seconds to wait before the next stage, and which of the command's processes get it.

    The wait None is an equal share of the time that the other stages leave of the job's delay.
    """

    signal: str
    wait: float | None = None
    to: Literal["leader", "group", "rest", "all"] = "all"


Stop: TypeAlias = tuple[StopStage, ...]
"""How a command is stopped; the empty one is the job's own way: SIGTERM to all and the job's delay."""


class Exec(Struct, frozen=True, tag="exec"):
    """A function that is one command, started without a shell.

    It reads `input` from its stdin, which is empty otherwise; no step file can say one.
    """

    command: tuple[str, ...]
    work_dir: str | None = None
    stop: Stop = ()
    input: str | None = None


class Sequence(Struct, frozen=True, tag="run"):
    """A function that is a list of steps, run one after another."""

    steps: tuple[Step, ...]
    outputs: Mapping[str, Value] = {}
    delegate: str | None = None


class Function(Struct, frozen=True):
    """A step file, read and checked: the plan of one function.

    `directory` is where the file lies ("" for a run list that came as text); local references start there.
    """

    spec: Spec
    body: Exec | Sequence
    env: Mapping[str, str] = {}
    directory: str = ""
    file: str = ""


# Results: what happened.


class Status(enum.IntEnum):
    """The state of a job or of a step; the numbers are those of the wire."""

    UNSPECIFIED = 0
    RUNNING = 1
    SUCCESS = 2
    FAILURE = 3
    CANCELLED = 4


class ErrorKind(enum.IntEnum):
    """Why a job did not succeed; the numbers are those of the wire."""

    UNKNOWN = 0
    STEP_FAILURE = 1
    INTERNAL = 2
    CANCELLED = 3
    TIMEOUT = 4


class ExecResult(Struct, frozen=True):
    """A command that was started; a negative exit code is the number of the signal that ended it.

    `output_bytes` is the size of what came out of its stdout and stderr until it had ended.
    """

    command: tuple[str, ...]
    work_dir: str
    exit_code: int
    output_bytes: int = 0


class Shown(Struct, frozen=True):
    """What a report may show of a step: each secret is `***`, `env` holds only what the step and its function set."""

    command: tuple[str, ...] = ()
    inputs: Mapping[str, Value] = {}
    outputs: Mapping[str, Value] = {}
    env: Mapping[str, str] = {}


class StepResult(Struct, frozen=True):
    """What one step did, with everything expanded; `sub_results` are the steps that it ran itself.

    `inputs` are those that it was given, without defaults. `step_env` is the whole environment that its function
    found, `env` the same with what the function sets itself: both as they were before it ran. Times are seconds since
    the epoch.
    """

    name: str
    call: Reference | Script | None
    inputs: Mapping[str, Value]
    function: Function
    status: Status
    env: Mapping[str, str]
    step_env: Mapping[str, str] = {}
    outputs: Mapping[str, Value] = {}
    exports: Mapping[str, str] = {}
    exec_result: ExecResult | None = None
    sub_results: tuple[StepResult, ...] = ()
    shown: Shown = Shown()
    start_time: float = 0.0
    end_time: float = 0.0


# Requests: what a job is asked to do.


class Variable(Struct, frozen=True):
    """A job variable; a `file` variable's value is put into a file and replaced by the file's path."""

    key: str
    value: str
    file: bool = False
    masked: bool = False


class RunRequest(Struct, frozen=True):
    """A job to run; durations are in seconds, None where the server's own apply."""

    id: str
    steps: str
    work_dir: str = ""
    env: Mapping[str, str] = {}
    variables: tuple[Variable, ...] = ()
    graceful_exit_delay: float | None = None
    timeout: float | None = None


class Termination(Struct, frozen=True):
    """How a job was brought to its end: the step that was running, and what became of its processes.

    `start_time` is the moment from which `ended` counts, in seconds since the epoch.
    """

    step: str
    ended: Exit
    start_time: float | None = None


class JobStatus(Struct, frozen=True):
    """The state of a job; times are seconds since the epoch, None as long as they have not come.

    `kind` is None where there is no error. `step` is the innermost step that runs, `kill_time` when what still runs
    gets SIGKILL, None unless the job is being stopped.
    """

    id: str
    status: Status = Status.UNSPECIFIED
    message: str = ""
    kind: ErrorKind | None = None
    start_time: float | None = None
    end_time: float | None = None
    termination: Termination | None = None
    step: str = ""
    kill_time: float | None = None

    @property
    def finished(self) -> bool:
        """Whether the job has come to its end."""
        return self.status in (Status.SUCCESS, Status.FAILURE, Status.CANCELLED)
