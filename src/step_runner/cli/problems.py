"""Shows the problems of a function before it runs, and refuses to run it if there are errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from step_runner import shown
from step_runner.errors import InputError, StepRunnerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from step_runner.model import Problem, Spec, Step


def count(problems: Sequence[Problem]) -> str:
    """Return the numbers of errors and warnings: `2 errors, 1 warning`."""
    warnings = sum(problem.warning for problem in problems)
    numbers = {"error": len(problems) - warnings, "warning": warnings}
    return ", ".join(f"{number} {what}{'s' * (number > 1)}" for what, number in numbers.items() if number)


def refuse(problems: Sequence[Problem]) -> None:
    """Show the problems of step files. Raise StepRunnerError unless there are only warnings."""
    for problem in problems:
        click.echo(str(problem), err=True)
    if any(not problem.warning for problem in problems):
        raise StepRunnerError(f"nothing was run: {count(problems)}")


def refuse_inputs(step: Step, spec: Spec) -> None:
    """Show warnings about the inputs that a step gives. Raise InputError if the function cannot take them."""
    from step_runner.runner.binding import input_errors, input_warnings

    if wrong := input_errors(step, spec):
        raise InputError(shown.INDENTED.join(map(shown.message, wrong)))
    for sentence in input_warnings(step, spec):
        click.echo(f"warning: {shown.message(sentence)}", err=True)
