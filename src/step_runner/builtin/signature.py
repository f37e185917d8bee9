"""Reads the signature of a Python function: its inputs, its outputs, and how JSON values become Python values.

A type is allowed if msgspec can convert it and it fits one of the types of inputs and outputs.
"""

from __future__ import annotations

import inspect
import typing
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET
from msgspec import inspect as types

from step_runner.errors import InputError
from step_runner.model import Parameter, Spec, Value, ValueType, type_of
from step_runner.plugin import Mark

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from msgspec import UnsetType

KINDS: dict[type[types.Type], ValueType] = {
    types.StrType: ValueType.STRING,
    types.IntType: ValueType.NUMBER,
    types.FloatType: ValueType.NUMBER,
    types.BoolType: ValueType.BOOLEAN,
    types.ListType: ValueType.ARRAY,
    types.DictType: ValueType.STRUCT,
    types.TypedDictType: ValueType.STRUCT,
    types.DataclassType: ValueType.STRUCT,
    types.StructType: ValueType.STRUCT,
}
ADVICE = "use str, int, float, bool, list, dict, Path, Literal, a dataclass or a TypedDict"
RECORD_ADVICE = "return a dataclass or a TypedDict with a field for each output, or None"
UNNAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Results(NamedTuple):
    """The returned values of a function: its outputs and the variables that it exports."""

    outputs: Mapping[str, Value]
    exports: Mapping[str, Value]


def spec_of(function: Callable[..., Any]) -> Spec:
    """Return the inputs and outputs of a function. Raise InputError, with what to write, if one lacks a type."""
    hints = _hints(function)
    parameters = inspect.signature(function).parameters
    inputs = {name: _input(one, hints) for name, one in parameters.items() if not _is_variables(hints.get(name))}
    fields = _fields(hints.get("return"))
    outputs = {name: _output(name, hint) for name, hint in fields.items() if not _is_exported(name, hint)}
    return Spec(inputs=inputs, outputs=outputs)


def arguments(
    function: Callable[..., Any], inputs: Mapping[str, Value], variables: Mapping[str, str] = {}
) -> dict[str, Any]:
    """Return the arguments of a function: the inputs, and the job's variables for a parameter of that type.

    Raise InputError for a value that is not of the input's type.
    """
    hints = _hints(function)
    asked = {name: variables for name in inspect.signature(function).parameters if _is_variables(hints[name])}
    return asked | {name: _converted(f'input "{name}"', value, hints[name]) for name, value in inputs.items()}


def results(function: Callable[..., Any], returned: object) -> Results:
    """Return the outputs and exports to write for a returned value; leave out a value that is None.

    Raise InputError for a returned value that does not match the signature.
    """
    hint = _hints(function).get("return")
    fields = _fields(hint)
    if not fields:
        if returned is not None:
            raise InputError(f"it returned a value, but its signature declares none; {RECORD_ADVICE}")
        return Results({}, {})
    plain = _json("the returned value", returned)
    _converted("the returned value", plain, hint)
    given = {name: plain[name] for name in fields if plain.get(name) is not None}
    exported = {name for name, hint in fields.items() if _is_exported(name, hint)}
    return Results(
        {name: value for name, value in given.items() if name not in exported},
        {name: value for name, value in given.items() if name in exported},
    )


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    if not inspect.isroutine(function):
        raise InputError("it is not a function; name a function in the entry point")
    return _evaluated(function)


def _evaluated(annotated: object) -> dict[str, Any]:
    try:
        return typing.get_type_hints(annotated, include_extras=True)
    except NameError as error:
        raise InputError(
            f"its type hints use {error.name}, which is not defined at run time; import it outside of TYPE_CHECKING"
        ) from error
    except (TypeError, SyntaxError) as error:
        raise InputError(f"its type hints cannot be evaluated: {error}; {ADVICE}") from error


def _input(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Parameter:
    place = f'input "{parameter.name}"'
    if parameter.kind in UNNAMED:
        raise InputError(f"{place} cannot be given by its name; leave out * and /")
    if parameter.name not in hints:
        raise InputError(f"{place} has no type; {ADVICE}")
    hint = hints[parameter.name]
    return Parameter(
        type=_kind(place, hint),
        default=_default(place, parameter.default, hint),
        sensitive=Mark.SENSITIVE in _marks(hint),
    )


def _output(name: str, hint: object) -> Parameter:
    place = f'output "{name}"'
    optional = types.NoneType() in _alternatives(place, hint)
    return Parameter(
        type=_kind(place, hint),
        default=None if optional else UNSET,
        sensitive=Mark.SENSITIVE in _marks(hint),
    )


def _is_variables(hint: object) -> bool:
    return Mark.JOB_VARIABLES in _marks(hint)


def _is_exported(name: str, hint: object) -> bool:
    if Mark.EXPORTED not in _marks(hint):
        return False
    if _kind(f'export "{name}"', hint) not in (ValueType.STRING, ValueType.NUMBER, ValueType.BOOLEAN):
        raise InputError(f'export "{name}" is not a single value; a variable is a str, an int, a float or a bool')
    return True


def _fields(hint: object) -> dict[str, Any]:
    """Return the type hints of the fields of a return type, a TypedDict or dataclass. Raise InputError for another."""
    if hint in (None, type(None)):
        return {}
    record = isinstance(hint, type) and (is_dataclass(hint) or typing.is_typeddict(hint))
    if not record:
        raise InputError(f"its return type {_shown(hint)} does not name outputs; {RECORD_ADVICE}")
    return {name: _without_not_required(one) for name, one in _evaluated(hint).items()}


def _without_not_required(hint: Any) -> Any:
    """Return the type of a field; a field that a TypedDict may leave out may also be None."""
    return typing.get_args(hint)[0] | None if typing.get_origin(hint) is typing.NotRequired else hint


def _default(place: str, default: object, hint: object) -> Value | UnsetType:
    if default is inspect.Parameter.empty:
        return UNSET
    value: Value = _json(f"the default of {place}", default)
    _converted(f"the default of {place}", value, hint)
    return value


def _kind(place: str, hint: object) -> ValueType:
    kinds = {_kind_of(one) for one in _alternatives(place, hint) if not isinstance(one, types.NoneType)}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is None:
        raise InputError(f"{place} has the type {_shown(hint)}, which inputs and outputs cannot have; {ADVICE}")
    return kind


def _alternatives(place: str, hint: object) -> tuple[types.Type, ...]:
    try:
        found = types.type_info(hint)
    except TypeError as error:
        raise InputError(f"{place} has a type that cannot be used: {error}; {ADVICE}") from error
    return found.types if isinstance(found, types.UnionType) else (found,)


def _kind_of(found: types.Type) -> ValueType | None:
    if isinstance(found, types.CustomType):
        return ValueType.STRING if found.cls is Path else None
    if isinstance(found, types.LiteralType):
        kinds = {type_of(value) for value in found.values}
        return kinds.pop() if len(kinds) == 1 else None
    return KINDS.get(type(found))


def _marks(hint: object) -> set[object]:
    """Return the marks of a value at all levels of its type."""
    own = {one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Mark)}
    return own.union(*map(_marks, typing.get_args(hint)))


def _json(place: str, value: object) -> Any:
    """Return a value as a JSON value. Raise InputError if JSON cannot hold it."""
    try:
        return msgspec.to_builtins(value, str_keys=True, enc_hook=_plain)
    except TypeError as error:
        raise InputError(f"{place} is not a JSON value: {error}; use other types") from error


def _converted(place: str, value: object, hint: Any) -> Any:
    try:
        return msgspec.convert(value, hint, dec_hook=_custom)
    except msgspec.ValidationError as error:
        fault = str(error)
        raise InputError(
            f"{place} is of another type than declared: {fault[:1].lower()}{fault[1:]}{_choice(hint)}"
        ) from None


def _choice(hint: object) -> str:
    """Return the values that a Literal allows, "" for any other type."""
    values = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    return f"; it is one of {', '.join(map(repr, values))}" if values else ""


def _custom(kind: type[Any], value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise msgspec.ValidationError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _shown(hint: object) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)
