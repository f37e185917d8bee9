"""The values that the packages of the step runner exchange; all of them are immutable."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from gracefulexitcmd import Exit
from step_runner import shown

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
"""A value of an input, an output or an expression: the values of JSON."""


class Secret(msgspec.Struct, frozen=True):
    """A value that must not be shown; `value` holds it. Neither `repr` nor an error message contains it."""

    value: Value

    def __repr__(self) -> str:
        return "Secret(...)"


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


_TYPES = {
    bool: ValueType.BOOLEAN,
    int: ValueType.NUMBER,
    float: ValueType.NUMBER,
    str: ValueType.STRING,
    list: ValueType.ARRAY,
    dict: ValueType.STRUCT,
}


def type_of(value: Value) -> ValueType | None:
    """Return the type of a value; None for null, which fits no type."""
    return _TYPES.get(type(value))


class Place(Struct, frozen=True):
    """A position in a text: the file's name as the user knows it, line and column counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Problem(Struct, frozen=True):
    """A fault in a step file; a file with warnings only can run."""

    place: Place
    message: str
    warning: bool = False

    def __str__(self) -> str:
        return shown.message(f"{self.place}: {'warning: ' if self.warning else ''}{self.message}")


# References: the location of a function.


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
    """A function in an OCI registry; `tag` may be a digest `sha256:...` or `sha512:...`."""

    registry: str
    repository: str
    tag: str = "latest"
    directory: str = ""
    file: str | None = None


class Builtin(Struct, frozen=True, tag="builtin"):
    """A function that comes with the step runner."""

    name: str


class Dynamic(Struct, frozen=True, tag="dynamic"):
    """A reference that contains an expression: it is expanded just before the step runs, then parsed."""

    template: str


Reference: TypeAlias = Local | Git | Oci | Builtin | Dynamic


# Functions: the content of a step file.


class Parameter(Struct, frozen=True):
    """A declared input or output; without a default an input is required and an output must be written."""

    type: ValueType
    default: Value | UnsetType = UNSET
    sensitive: bool = False
    description: str = ""


class Spec(Struct, frozen=True):
    """The first document of a step file: the inputs and outputs of a function."""

    inputs: Mapping[str, Parameter] = {}
    outputs: Mapping[str, Parameter] | Literal["delegate"] = {}


class Script(Struct, frozen=True, tag="script"):
    """The text of a `script:`, run by the shell."""

    text: str


SCRIPT_SPEC = Spec(inputs={"script": Parameter(type=ValueType.STRING, sensitive=True)})
"""The spec of the function that a `script:` calls, which is also `builtin://script`."""


class Typed(Struct, frozen=True):
    """An input as the user typed it: an input of type string takes the text, other types take its value as YAML.

    `value` is absent if the text is not valid YAML; `fault` says why.
    """

    text: str
    value: Value | UnsetType = UNSET
    fault: str = ""


class Step(Struct, frozen=True):
    """One item of a `run` list: a function to call, with templates for its inputs and environment.

    The inputs that were `typed` on a command line override the others.
    """

    name: str
    call: Reference | Script
    inputs: Mapping[str, Value] = {}
    typed: Mapping[str, Typed] = {}
    env: Mapping[str, str] = {}
    place: Place | None = None


class StopStage(Struct, frozen=True):
    """A signal by its name, the seconds to wait before the next stage, and the processes of the command that get it.

    A stage whose `wait` is None gets an equal share of the grace period that the other stages leave.
    """

    signal: str
    wait: float | None = None
    to: Literal["leader", "group", "rest", "all"] = "all"


Stop: TypeAlias = tuple[StopStage, ...]
"""The stages of stopping a command; empty: the job's default, SIGTERM to all and the job's grace period."""


class Exec(Struct, frozen=True, tag="exec"):
    """A function that is one command, started without a shell.

    It reads `input` from its stdin; without `input` stdin is empty. A step file cannot set `input`.
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
    """A parsed and checked step file: the plan of one function.

    `directory` is the directory of the file ("" for a run list that came as text); local references are relative to it.
    """

    spec: Spec
    body: Exec | Sequence
    env: Mapping[str, str] = {}
    directory: str = ""
    file: str = ""


# Results: the outcome of jobs and steps.


class Status(enum.IntEnum):
    """The state of a job or of a step; the numbers are those of the wire."""

    UNSPECIFIED = 0
    RUNNING = 1
    SUCCESS = 2
    FAILURE = 3
    CANCELLED = 4


class ErrorKind(enum.IntEnum):
    """The reason why a job did not succeed; the numbers are those of the wire."""

    UNKNOWN = 0
    STEP_FAILURE = 1
    INTERNAL = 2
    CANCELLED = 3
    TIMEOUT = 4


class ExecResult(Struct, frozen=True):
    """A command that was started; a negative exit code is the number of the signal that ended it.

    `output_bytes` is the number of bytes that it wrote to stdout and stderr until it ended.
    """

    command: tuple[str, ...]
    work_dir: str
    exit_code: int
    output_bytes: int = 0


class StepResult(Struct, frozen=True):
    """The result of one step, with all expressions expanded; `sub_results` are the results of its own steps.

    `inputs` are the inputs that the step passes, without defaults. `step_env` is the whole environment of its function,
    `env` adds the variables that the function itself sets; both as they were before the run. `own_env` are the
    variables that the step and its function set. Secrets of the command are masked in `shown_command`. Times are
    seconds since the epoch.
    """

    name: str
    call: Reference | Script | None
    inputs: Mapping[str, Value | Secret]
    function: Function
    status: Status
    env: Mapping[str, str]
    step_env: Mapping[str, str] = {}
    own_env: Mapping[str, str | Secret] = {}
    outputs: Mapping[str, Value | Secret] = {}
    exports: Mapping[str, str] = {}
    exec_result: ExecResult | None = None
    shown_command: tuple[str, ...] = ()
    sub_results: tuple[StepResult, ...] = ()
    start_time: float = 0.0
    end_time: float = 0.0


# Requests and status of jobs.


class Variable(Struct, frozen=True):
    """A job variable. The value of a `file` variable is written to a file, and the path of the file replaces it."""

    key: str
    value: str
    file: bool = False
    masked: bool = False


class RunRequest(Struct, frozen=True):
    """A job to run; durations are in seconds, None for the defaults of the server."""

    id: str
    steps: str
    work_dir: str = ""
    env: Mapping[str, str] = {}
    variables: tuple[Variable, ...] = ()
    graceful_exit_delay: float | None = None
    timeout: float | None = None


class Termination(Struct, frozen=True):
    """How a job was terminated: the step that was running, and the end of its processes.

    The times in `ended` are relative to `start_time`, in seconds since the epoch.
    """

    step: str
    ended: Exit
    start_time: float | None = None


class JobStatus(Struct, frozen=True):
    """The state of a job; times are seconds since the epoch, None for events that have not happened.

    `kind` is None without an error. `step` is the innermost running step. `kill_time` is when the remaining processes
    get SIGKILL; it is None unless the job is being stopped.
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
        """Whether the job has ended."""
        return self.status in (Status.SUCCESS, Status.FAILURE, Status.CANCELLED)
