"""What is wrong with what a person wants to run, found and said before anything runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
from msgspec import UNSET

from step_runner import shown
from step_runner.errors import InputError, StepRunnerError
from step_runner.model import Local, Parameter, type_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from step_runner.model import Problem, Spec, Step, Value


def count(problems: Sequence[Problem]) -> str:
    """How many problems there are: `2 errors, 1 warning`."""
    warnings = sum(problem.warning for problem in problems)
    numbers = {"error": len(problems) - warnings, "warning": warnings}
    return ", ".join(f"{number} {what}{'s' * (number > 1)}" for what, number in numbers.items() if number)


def refuse(problems: Sequence[Problem]) -> None:
    """Show what is wrong in step files. Raises StepRunnerError unless there are only warnings."""
    for problem in problems:
        click.echo(str(problem), err=True)
    if any(not problem.warning for problem in problems):
        raise StepRunnerError(f"nothing was run: {count(problems)}")


def refuse_local(reference: Local) -> None:
    """Show what is wrong in a function on this machine and in those that it calls, as `refuse` does.

    A function that an earlier step may make is only warned of. Raises FetchError where there is no such function.
    """
    from step_runner.functions.check import check
    from step_runner.functions.resolve import local_directory, shown_path
    from step_runner.functions.source import find_file

    directory = local_directory(reference, "")
    find_file(directory, reference.file, shown_path(directory))
    path = os.path.join(reference.path, reference.file or "")
    refuse(check([path], missing_functions_may_come=True))


def refuse_inputs(step: Step, spec: Spec) -> None:
    """Check the inputs that were given on the command line.

    Raises InputError for an input that there is not, for one that is missing, and for one that was typed and has
    another type than the declared one. One in a step file is only warned of.
    """
    if wrong := [*_unknown(step, spec), *_missing(step, spec), *_mistyped(step, spec)]:
        raise InputError(shown.INDENTED.join(map(shown.message, wrong)))
    for name, value in step.inputs.items():
        if name not in step.typed and (sentence := _mismatch(name, value, spec.inputs)):
            click.echo(f"warning: {shown.message(sentence)}", err=True)


def _unknown(step: Step, spec: Spec) -> Iterator[str]:
    from step_runner.functions.spelling import meant

    for name in {**step.inputs, **step.typed}:
        if name not in spec.inputs:
            yield f'"{step.name}" takes no input "{name}"{meant(name, spec.inputs) or "; remove it"}'


def _missing(step: Step, spec: Spec) -> Iterator[str]:
    for name, parameter in spec.inputs.items():
        if parameter.default is UNSET and name not in {**step.inputs, **step.typed}:
            yield f'"{step.name}" requires an input "{name}", {parameter.type.article}; add --inputs {name}=VALUE'


def _mistyped(step: Step, spec: Spec) -> Iterator[str]:
    from step_runner.runner.binding import typed_value

    for name, typed in step.typed.items():
        if name in spec.inputs:
            try:
                typed_value(name, typed, spec.inputs[name].type)
            except InputError as error:
                yield str(error)


def _mismatch(name: str, value: Value, declared: Mapping[str, Parameter]) -> str | None:
    from step_runner.expression import has_expression

    wanted, given = declared[name].type, type_of(value)
    if given is wanted or (isinstance(value, str) and has_expression(value)):
        return None
    return f'input "{name}" is {given.article if given else "null"}, but its declared type is {wanted}'
