"""What a step can see: the job's part, which all steps share, and the part of the function that it stands in."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from msgspec import field

from gracefulexitcmd import Container
from step_runner import shown
from step_runner.expression import Secret, reveal
from step_runner.model import Function, Reference, Struct, Value
from step_runner.paths import with_slashes
from step_runner.proc import Proc
from step_runner.runner.exports import Exports
from step_runner.runner.files import StepFiles
from step_runner.runner.masks import Masks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gracefulexitcmd import Exit

Environment: TypeAlias = Callable[[], Mapping[str, str]]
"""Gives the environment that a step will have, as far as it is known without its function."""

Resolve: TypeAlias = Callable[[Reference, str, Environment], Awaitable[Function]]
"""Finds the function that a reference in a given directory names, for a step with that environment."""


class Stream(Protocol):
    """The end of a pipe that a step writes to, or a pseudo-terminal."""

    @property
    def write_end(self) -> int | None:
        """The descriptor, until it is closed here."""

    def started(self, send: Callable[[int], object]) -> None:
        """The step has its end, which can be closed here. `send` sends a signal to the step's group."""

    def let_go(self) -> None:
        """Close the step's end here: it could not be started."""

    @property
    def moved(self) -> int:
        """The number of bytes that have come out of it."""


class Streams(NamedTuple):
    """What one step writes to: both can be the same."""

    stdout: Stream
    stderr: Stream

    def started(self, send: Callable[[int], object]) -> None:
        """The step has its ends."""
        for stream in self:
            stream.started(send)

    @property
    def moved(self) -> int:
        """The number of bytes that have come out of both."""
        return self.stdout.moved + (self.stderr.moved if self.stderr is not self.stdout else 0)

    def let_go(self) -> None:
        """Close the step's ends here: it could not be started."""
        for stream in self:
            stream.let_go()


class Sink(Protocol):
    """Where the output of steps goes, and the runner's own lines between it."""

    @property
    def lost(self) -> OSError | None:
        """Why output was lost, once it was."""

    def open(self) -> Streams:
        """Make the streams of a step that is about to start. Raises OSError where no descriptor is free."""

    async def settle(self) -> None:
        """Have all where it goes that steps have written up to now, and wait for nobody who may still write."""

    def notice(self, line: str) -> None:
        """Write a line of the runner's own."""

    def end(self) -> None:
        """Say that nothing more will be written."""


class Listener:
    """What is called when something happens in a job; this one does nothing about it."""

    def step_started(self, names: tuple[str, ...]) -> None:
        """A command is about to start; `names` are those of the enclosing steps and its own."""

    def step_stopping(self, names: tuple[str, ...], grace: float) -> None:
        """A command is about to get the stop signal; it gets SIGKILL after `grace` seconds."""

    def step_stopped(self, names: tuple[str, ...], ended: Exit) -> None:
        """A command that got the stop signal has ended."""

    def fetching(self, text: str) -> None:
        """A function is being fetched; the text names it and its progress. Any thread calls this, often."""

    def suspending(self) -> None:
        """Everything is about to be stopped by Ctrl-Z."""

    def stopping(self, grace: float) -> None:
        """The job is about to be stopped; what is left of it is killed after `grace` seconds."""

    def when_gone(self, gone: Callable[[], object]) -> None:
        """Have this called when the output has lost its reader."""

    def abandon(self) -> None:
        """Wait no longer for the reader of the output."""


class GlobalContext(Struct, frozen=True):
    """The job's part: what is the same for all its steps.

    `container` knows all processes that they have started. `env` is the environment below everything that steps set,
    `exports` what they have exported so far. `scratch` is a private directory for output and export files. `debug`
    adds the lines of output files that cannot be read to the errors. `masks` hide what is secret in messages.
    """

    proc: Proc
    container: Container
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
        """Write a line of the runner's own, which shows no secret and stays one line."""
        self.sink.notice(shown.name(self.masks.hidden(line)))

    def export(self, variables: Mapping[str, str], path: tuple[str, ...]) -> None:
        """Add what the step `path` has exported to the environment of all steps that start later."""
        self.exports.add(variables, path[-1] if path else "")

    @contextlib.contextmanager
    def step_files(self) -> Iterator[StepFiles]:
        """The output file and the export file of one step; whoever runs a command makes them, this removes them."""
        number = next(self._numbers)
        output, export = (with_slashes(f"{self.scratch}/{kind}-{number}") for kind in ("output", "export"))
        files = StepFiles(output, export)
        try:
            yield files
        finally:
            files.remove()


class StepsContext(Struct, frozen=True):
    """What the expressions of one function see, and the steps that it calls.

    `path` holds the names of the steps that led here, `overrides` the variables that enclosing sequences, steps and
    the function itself have set, `own` those of them that this step and its function set, `steps` the outputs of the
    steps of this sequence that have run.
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
        """Return the environment as a process gets it, with what is sensitive.

        What steps have exported wins over all but what was set on the way.
        """
        return dict(self.job.exports.over(self.job.env, self._revealed()))

    def recorded_environment(self) -> Mapping[str, str]:
        """Return the same for a record, which is to stay as it is now."""
        return self.job.exports.recorded(self.job.env, self._revealed())

    def _revealed(self) -> dict[str, str]:
        return {name: str(reveal(value)) for name, value in self.overrides.items()}

    def scope(self, files: StepFiles | None = None) -> dict[str, object]:
        """The names that an expression can use, with the function's own files unless others are given."""
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
