"""The context of a step: a part that all steps of the job share, and the part of its function."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from msgspec import field

from gracefulexitcmd import ManualContainer
from step_runner import shown
from step_runner.expression import Secret, reveal
from step_runner.model import Function, Reference, Struct, Value
from step_runner.paths import with_slashes
from step_runner.proc import Proc
from step_runner.runner.exports import Exports, Recorded
from step_runner.runner.files import StepFiles
from step_runner.runner.masks import Masks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gracefulexitcmd import Exit

Environment: TypeAlias = Callable[[], Mapping[str, str]]
"""Returns the environment of a step, as far as it is known without its function."""

Resolve: TypeAlias = Callable[[Reference, str, Environment], Awaitable[Function]]
"""Returns the function that a reference names in a directory, for a step with that environment."""


class Stream(Protocol):
    """The end of a pipe or of a pseudo-terminal that a step writes to."""

    @property
    def write_end(self) -> int | None:
        """The descriptor, until it is closed in this process."""

    def started(self, send: Callable[[int], object]) -> None:
        """Note that the step has its end: our copy may be closed. `send` sends a signal to the step's process group."""

    def let_go(self) -> None:
        """Close our copy of the step's end, and give it to no other step."""

    @property
    def moved(self) -> int:
        """Number of bytes moved out of it."""


class Streams(NamedTuple):
    """The streams that one step writes to; both can be the same."""

    stdout: Stream
    stderr: Stream

    def started(self, send: Callable[[int], object]) -> None:
        """Note that the step has its ends."""
        for stream in self:
            stream.started(send)

    @property
    def moved(self) -> int:
        """Number of bytes moved out of both."""
        return self.stdout.moved + (self.stderr.moved if self.stderr is not self.stdout else 0)

    def let_go(self) -> None:
        """Close our copies of the step's ends, and give them to no other step."""
        for stream in self:
            stream.let_go()


class Sink(Protocol):
    """The destination of the steps' output and of the runner's own lines."""

    @property
    def lost(self) -> OSError | None:
        """The error that lost output; None while nothing was lost."""

    def open(self) -> Streams:
        """Return the streams of a step that is about to start. Raise OSError when no descriptor is free."""

    async def settle(self) -> None:
        """Wait until all output written so far has reached its destination.

        Do not wait for processes that may still write.
        """

    def notice(self, line: str) -> None:
        """Write a line of the runner's own."""

    def end(self) -> None:
        """End the output."""


class Listener:
    """Callbacks for the events of a job. This class does nothing in any of them."""

    def step_started(self, names: tuple[str, ...]) -> None:
        """Called before a command starts; `names` are those of the enclosing steps and of its own."""

    def step_stopping(self, names: tuple[str, ...], grace: float) -> None:
        """Called before a command gets the stop signal; SIGKILL follows after `grace` seconds."""

    def step_stopped(self, names: tuple[str, ...], ended: Exit) -> None:
        """Called after the end of a command that got the stop signal."""

    def fetching(self, text: str) -> None:
        """Called often, from any thread, while a function is fetched. The text names it and its progress."""

    def suspending(self) -> None:
        """Called before Ctrl-Z suspends all processes."""

    def stopping(self, grace: float) -> None:
        """Called before the job is stopped; its remaining processes are killed after `grace` seconds."""

    def when_gone(self, gone: Callable[[], object]) -> None:
        """Register a function to call when the output has lost its reader."""

    def abandon(self) -> None:
        """Stop waiting for the reader of the output."""


class GlobalContext(Struct, frozen=True):
    """The part of the context that all steps of a job share.

    `container` finds all processes that the steps have started. `env` is the environment below everything that steps
    set, `exports` holds all exports so far. `scratch` is a private directory for output and export files. With `debug`,
    errors quote the unreadable lines of output files. `masks` hide secrets in messages.
    """

    proc: Proc
    container: ManualContainer
    work_dir: str
    env: Mapping[str, str]
    variables: Mapping[str, Value | Secret]
    sink: Sink
    scratch: str
    resolve: Resolve
    listener: Listener
    debug: bool = False
    masks: Masks = field(default_factory=Masks)
    exports: Exports = field(default_factory=Exports)
    _numbers: count[int] = field(default_factory=count)

    def notice(self, line: str) -> None:
        """Write a line of the runner's own, with secrets masked and on one line."""
        self.sink.notice(shown.name(self.masks.hidden(line)))

    @contextlib.contextmanager
    def step_files(self) -> Iterator[StepFiles]:
        """Yield the paths of one step's output and export files, then remove them.

        The caller that runs a command makes them.
        """
        number = next(self._numbers)
        output, export = (with_slashes(f"{self.scratch}/{kind}-{number}") for kind in ("output", "export"))
        files = StepFiles(output, export)
        try:
            yield files
        finally:
            files.remove()


class StepsContext(Struct, frozen=True):
    """The values that the expressions of one function see, and those for the steps that it calls.

    `path` holds the names of the enclosing steps and of this one. `overrides` are the variables that enclosing
    sequences, steps and the function itself have set. `own` are those that this step and its function set. `steps` are
    the outputs of the steps of this sequence that have run.
    """

    job: GlobalContext
    path: tuple[str, ...]
    directory: str
    files: StepFiles
    inputs: Mapping[str, Value | Secret] = field(default_factory=dict)
    overrides: Mapping[str, str | Secret] = field(default_factory=dict)
    own: Mapping[str, str | Secret] = field(default_factory=dict)
    steps: dict[str, dict[str, Mapping[str, Value | Secret]]] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Return the environment as a process gets it, including sensitive values.

        Exports of steps override the base environment, but not the variables in `overrides`.
        """
        return self.job.exports.current(self.job.env, self._revealed())

    def recorded_environment(self) -> Mapping[str, str]:
        """Return the same environment for a record: later exports do not change it."""
        return Recorded(self.job.env, self.job.exports, self._revealed())

    def _revealed(self) -> dict[str, str]:
        return {name: str(reveal(value)) for name, value in self.overrides.items()}

    def scope(self, files: StepFiles | None = None) -> dict[str, object]:
        """Return the names that an expression can use, with the function's own files by default."""
        files = files or self.files
        return {
            "inputs": self.inputs,
            "env": self.job.exports.over(self.job.env, self.overrides),
            "vars": self.job.variables,
            "job": self.job.variables,
            "steps": self.steps,
            "work_dir": with_slashes(self.job.work_dir),
            "func_dir": self.directory,
            "step_dir": self.directory,
            "output_file": files.output,
            "export_file": files.export,
        }
