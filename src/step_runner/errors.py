"""The errors of the step runner, as one tree.

    StepRunnerError             what a person is told; exit status 1
    ├── InputError              something that a person wrote cannot be used
    │   ├── FunctionFileError   a step file: every problem with file, line and column
    │   ├── ExpressionError     a `${{ }}` that cannot be read or evaluated
    │   └── OutputError         what a step wrote to its output or export file
    ├── FetchError              a function that could not be brought here
    ├── CommandError            a command that ended with another status than 0
    ├── StoppedError            a step that was told to stop
    ├── StepError               a failed step: its name in front of the cause
    └── InternalError           a fault of the step runner itself

`str(error)` is the whole message. Errors travel up unchanged, each step putting its name in front.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from step_runner import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from step_runner.model import Problem


class StepRunnerError(Exception):
    """An error with a message for a person, and the status that the program exits with."""

    exit_status = 1


class InputError(StepRunnerError):
    """Something that a person wrote cannot be used."""


class FunctionFileError(InputError):
    """A step file that cannot be used; `problems` holds at least one place and what is wrong there."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(shown.INDENTED.join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class ExpressionError(InputError):
    """An expression that cannot be read or evaluated.

    `source` is the template that it stands in and `span` the place of the fault there, as offsets in characters;
    both are empty where no text is to blame.
    """

    def __init__(self, message: str, source: str = "", span: tuple[int, int] = (0, 0)) -> None:
        super().__init__(message)
        self.source = source
        self.span = span


class OutputError(InputError):
    """What a step wrote to its output file or its export file cannot be used."""


class FetchError(StepRunnerError):
    """A function that could not be brought here."""


class CommandError(StepRunnerError):
    """A command that could not be started (`status` is None) or ended with another status than 0.

    A negative `status` is the number of the signal that ended the command, as in `subprocess`.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        if status is not None and status != 0:
            self.exit_status = status if status > 0 else 128 - status


class StoppedError(StepRunnerError):
    """A step that was told to stop before it had ended by itself; `timeout` tells whether its time was over."""

    def __init__(self, message: str, *, timeout: bool = False) -> None:
        super().__init__(message)
        self.timeout = timeout


class StepError(StepRunnerError):
    """A failed step: its name in front of the cause, which may be a group of errors."""

    def __init__(self, step: str, cause: Exception) -> None:
        super().__init__(f'step "{shown.name(step)}": {message(cause)}')
        self.step = step
        self.exit_status = exit_status(cause)
        self.__cause__ = cause


class InternalError(StepRunnerError):
    """A fault of the step runner itself."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """The errors that stand behind an error: itself, the members of a group, and the cause of each."""
    yield error
    behind = error.exceptions if isinstance(error, BaseExceptionGroup) else [error.__cause__]
    for cause in behind:
        if cause is not None:
            yield from causes(cause)


def message(error: BaseException) -> str:
    """An error as a sentence; the members of a group one after another."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(message(member) for member in error.exceptions)
    return str(error) or type(error).__name__


def exit_status(error: BaseException) -> int:
    """The status to exit with: that of the command that failed, else 1."""
    statuses = (cause.exit_status for cause in causes(error) if isinstance(cause, CommandError))
    return next(statuses, 1)
