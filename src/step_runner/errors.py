"""The errors of the step runner, as one tree.

    StepRunnerError             an error with a message for the user; exit status 1
    ├── InputError              an input of the user is not valid
    │   ├── FunctionFileError   a step file is not valid: each problem with file, line and column
    │   ├── ExpressionError     a `${{ }}` cannot be parsed or evaluated
    │   └── OutputError         the output file or export file of a step is not valid
    ├── FetchError              a function cannot be fetched
    ├── CommandError            a command could not start, or ended with a status other than 0
    ├── StoppedError            a step was stopped
    ├── StepError               a step failed: its name, then the cause
    └── InternalError           a fault of the step runner itself

`str(error)` is the whole message. Errors propagate unchanged; each step adds its name in front.
"""

from __future__ import annotations

from step_runner import shown

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from step_runner.model import Problem


class StepRunnerError(Exception):
    """An error with a message for the user, and the exit status of the program."""

    exit_status = 1


class InputError(StepRunnerError):
    """An input of the user is not valid."""


class FunctionFileError(InputError):
    """A step file is not valid; `problems` holds at least one fault and its position."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(shown.INDENTED.join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class ExpressionError(InputError):
    """An expression cannot be parsed or evaluated.

    `source` is the template that contains it, and `span` the position of the fault there, as offsets in characters;
    both are empty if no text has caused the error.
    """

    def __init__(self, message: str, source: str = "", span: tuple[int, int] = (0, 0)) -> None:
        super().__init__(message)
        self.source = source
        self.span = span


class OutputError(InputError):
    """The output file or the export file of a step is not valid."""


class FetchError(StepRunnerError):
    """A function cannot be fetched."""


class CommandError(StepRunnerError):
    """A command could not start (`status` is None), or ended with a status other than 0.

    A negative `status` is the number of the signal that ended the command, as in `subprocess`.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        if status is not None and status != 0:
            self.exit_status = status if status > 0 else 128 - status


class StoppedError(StepRunnerError):
    """A step was stopped before it ended by itself; `timeout` says whether a timeout was the reason."""

    def __init__(self, message: str, *, timeout: bool = False) -> None:
        super().__init__(message)
        self.timeout = timeout


class StepError(StepRunnerError):
    """A step failed: its name, then the cause, which may be a group of errors."""

    def __init__(self, step: str, cause: Exception) -> None:
        super().__init__(f'step "{shown.name(step)}": {message(cause)}')
        self.step = step
        self.exit_status = exit_status(cause)
        self.__cause__ = cause


class InternalError(StepRunnerError):
    """A fault of the step runner itself."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all its causes: the members of a group, and the cause of each."""
    yield error
    direct = error.exceptions if isinstance(error, BaseExceptionGroup) else [error.__cause__]
    for cause in direct:
        if cause is not None:
            yield from causes(cause)


def message(error: BaseException) -> str:
    """Return an error as a sentence; join the members of a group."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(message(member) for member in error.exceptions)
    return str(error) or type(error).__name__


def exit_status(error: BaseException) -> int:
    """Return the exit status: that of the command that failed, else 1."""
    statuses = (cause.exit_status for cause in causes(error) if isinstance(cause, CommandError))
    return next(statuses, 1)
