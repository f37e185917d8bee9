"""Binds a step to the function that it calls: which inputs and which environment the function gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec
from msgspec import UnsetType

from step_runner.errors import ExpressionError, InputError
from step_runner.expression import Secret, expand, expand_text, has_expression, is_secret, reveal
from step_runner.model import ValueType, type_of
from step_runner.runner import environment
from step_runner.spelling import meant

if TYPE_CHECKING:
    from collections.abc import Callable

    from step_runner.model import Parameter, Spec, Step, Typed, Value

T = TypeVar("T")
U = TypeVar("U")
Scope: TypeAlias = Mapping[str, Any]


def expand_inputs(step: Step, spec: Spec, scope: Scope) -> dict[str, Value | Secret]:
    """Return the inputs that a step gives, expanded in the caller's scope.

    Raise InputError for an input that the function does not have, for an expression that fails, and for a typed value
    that differs from the declared type.
    """
    inputs = _expand_keys("input", step.inputs, scope)
    for name in (*inputs, *step.typed):
        if name not in spec.inputs:
            raise InputError(f'step does not accept input with name "{name}"{_known(spec)}')
    given = {name: _expand_input(name, value, scope) for name, value in inputs.items() if name not in step.typed}
    typed = {name: _expand_typed(name, value, spec.inputs[name].type, scope) for name, value in step.typed.items()}
    return {**given, **typed}


def typed_value(name: str, typed: Typed, declared: ValueType) -> Value:
    """Return the meaning of a typed input, if its declared type is this one; it may still be a template.

    Raise InputError for a value of another type.
    """
    if declared is ValueType.STRING:
        return typed.text
    if isinstance(typed.value, UnsetType):
        raise InputError(f'input "{name}" is declared as {declared}, but its value is not YAML: {typed.fault}')
    if not (isinstance(typed.value, str) and has_expression(typed.value)):
        _check_type(name, typed.value, declared)
    return typed.value


def input_errors(step: Step, spec: Spec) -> list[str]:
    """Return the errors in the inputs of a command line: unknown, missing, or typed as another type."""
    given = {**step.inputs, **step.typed}
    unknown = (name for name in given if name not in spec.inputs)
    missing = (name for name, one in spec.inputs.items() if one.default is msgspec.UNSET and name not in given)
    return [
        *(f'"{step.name}" takes no input "{name}"{meant(name, spec.inputs) or "; remove it"}' for name in unknown),
        *(
            f'"{step.name}" requires an input "{name}", {spec.inputs[name].type.article}; add --inputs {name}=VALUE'
            for name in missing
        ),
        *(sentence for name in step.typed if (sentence := _mistyped(name, step, spec))),
    ]


def input_warnings(step: Step, spec: Spec) -> list[str]:
    """Return warnings about inputs of a step file that differ from their declared types.

    Expressions have no type yet.
    """
    return [
        sentence
        for name, value in step.inputs.items()
        if name not in step.typed and not (isinstance(value, str) and has_expression(value))
        if (sentence := _mismatch(name, value, spec.inputs[name].type))
    ]


def _mistyped(name: str, step: Step, spec: Spec) -> str | None:
    if name in spec.inputs:
        try:
            typed_value(name, step.typed[name], spec.inputs[name].type)
        except InputError as error:
            return str(error)
    return None


def _mismatch(name: str, value: Value, declared: ValueType) -> str | None:
    given = type_of(value)
    if given is declared:
        return None
    return f'input "{name}" is {given.article if given else "null"}, but its declared type is {declared}'


def _expand_typed(name: str, typed: Typed, declared: ValueType, scope: Scope) -> Value | Secret:
    template = typed_value(name, typed, declared)
    if declared is ValueType.STRING:
        return _expand(f'expand input "{name}"', str(template), scope, expand_text)
    value = _expand_input(name, template, scope)
    _check_type(name, reveal(value), declared)
    return value


def _check_type(name: str, value: Value, declared: ValueType) -> None:
    if mismatch := _mismatch(name, value, declared):
        raise InputError(mismatch)


def assign(given: Mapping[str, Value | Secret], spec: Spec) -> dict[str, Value | Secret]:
    """Return the values of all inputs of a spec: those given, else the defaults.

    Raise InputError for an input that is missing, and for a sensitive value where the spec does not allow one.
    """
    return {name: _assign(name, parameter, given) for name, parameter in spec.inputs.items()}


def expand_env(env: Mapping[str, str], scope: Scope, place: str) -> dict[str, str | Secret]:
    """Return the variables with their expressions evaluated. Errors begin with `place`: `env "KEY": ...`.

    Raise InputError for an expression that fails, or for a text that cannot be an environment variable.
    """
    named = _expand_keys(place, env, scope)
    expanded = {name: _expand(f'{place} "{name}"', text, scope, expand_text) for name, text in named.items()}
    for name, value in expanded.items():
        if (complaint := environment.complaint(name, str(reveal(value)))) is not None:
            raise InputError(f'{place} "{name}": {complaint}')
    return expanded


def mark(value: Value | Secret, parameter: Parameter) -> Value | Secret:
    """Return the value as the rest of the job sees it: secret if it is declared as sensitive."""
    return Secret(reveal(value)) if parameter.sensitive and not isinstance(value, Secret) else value


def _expand_keys(place: str, values: Mapping[str, T], scope: Scope) -> dict[str, T]:
    return {
        str(reveal(_expand(f'{place} "{name}"', name, scope, expand_text))) if has_expression(name) else name: value
        for name, value in values.items()
    }


def _expand(place: str, value: T, scope: Scope, by: Callable[[T, Scope], U]) -> U:
    try:
        return by(value, scope)
    except ExpressionError as error:
        raise InputError(f"{place}: {error}") from error


def _expand_input(name: str, value: Value, scope: Scope) -> Value | Secret:
    return _expand(f'expand input "{name}"', value, scope, expand)


def _assign(name: str, parameter: Parameter, given: Mapping[str, Value | Secret]) -> Value | Secret:
    if name not in given:
        if parameter.default is msgspec.UNSET:
            raise InputError(
                f'failed to parse spec definition: input "{name}" required, but not defined:'
                f" give it under inputs, or give it a default in the specification"
            )
        return mark(parameter.default, parameter)
    if is_secret(given[name]) and not parameter.sensitive:
        raise InputError(
            f'assign input "{name}": non-sensitive input cannot derive value using sensitive value(s):'
            f" declare the input with sensitive: true"
        )
    return mark(given[name], parameter)


def _known(spec: Spec) -> str:
    return f": it accepts {', '.join(spec.inputs)}" if spec.inputs else ": it accepts none"
