"""Protobuf's text form: reads functions in it, and writes step results in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import json_format, text_format
from google.protobuf.message import DecodeError
from msgspec import UNSET

from step_runner.api.pb import step_pb2 as pb
from step_runner.errors import FunctionFileError, InputError
from step_runner.functions.reference import git_reference, oci_reference
from step_runner.model import (
    Builtin,
    Dynamic,
    Exec,
    Function,
    Local,
    Parameter,
    Place,
    Problem,
    Reference,
    Script,
    Sequence,
    Spec,
    Step,
    ValueType,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.struct_pb2 import Value as ValueMessage

    from step_runner.model import Value

EXACT = 2**53
"""The largest number up to which a double holds every integer."""


def read_function(text: str, *, file: str, directory: str = "") -> Function:
    """Return the function that a `proto.SpecDefinition` in text form defines.

    `file` is its name in messages; its local references start in `directory`. Raise FunctionFileError.
    """
    message = pb.SpecDefinition()
    try:
        text_format.Parse(text, message)
        return _function(message, file, directory)
    except text_format.ParseError as error:
        place = Place(file=file, line=error.GetLine() or 1, column=error.GetColumn() or 1)
        raise FunctionFileError([Problem(place=place, message=_sentence(error))]) from error
    except InputError as error:
        # Messages do not keep the number of their line.
        place = Place(file=file, line=1, column=1)
        raise FunctionFileError([Problem(place=place, message=str(error))]) from error


def result_text(json: str) -> str:
    """Return a step result in text form, from its JSON form; bytes that are not UTF-8 become `?`.

    Raise InputError for values nested deeper than protobuf allows: 100 messages.
    """
    try:
        message = json_format.Parse(json.encode(errors="replace"), pb.StepResult())
        return text_format.MessageToString(message, as_utf8=True)
    except (json_format.ParseError, DecodeError) as error:
        raise InputError("a value is nested too deeply for protobuf: choose the format json") from error


def _sentence(error: text_format.ParseError) -> str:
    sentence = str(error).partition(" : ")[2] or str(error)
    return f"not a SpecDefinition in protobuf's text form: {sentence.strip().rstrip('.')}"


def _function(message: pb.SpecDefinition, file: str, directory: str) -> Function:
    definition = message.definition
    return Function(
        spec=_spec(message.spec.spec),
        body=_body(definition),
        env=dict(definition.env),
        directory=directory,
        file=file,
    )


def _spec(content: pb.Spec.Content) -> Spec:
    delegates = content.output_method == pb.OutputMethod.delegate
    return Spec(inputs=_parameters(content.inputs), outputs="delegate" if delegates else _parameters(content.outputs))


def _parameters(
    messages: Mapping[str, pb.Spec.Content.Input] | Mapping[str, pb.Spec.Content.Output],
) -> dict[str, Parameter]:
    return {name: _parameter(name, messages[name]) for name in messages}


def _parameter(name: str, message: pb.Spec.Content.Input | pb.Spec.Content.Output) -> Parameter:
    if not message.type:
        raise InputError(f'"{name}" has no type; write type: string, number, boolean, array or struct')
    default = _value(message.default) if message.HasField("default") else UNSET
    return Parameter(
        type=ValueType(pb.ValueType.Name(message.type)),
        default=UNSET if default is None else default,
        sensitive=message.sensitive,
    )


def _body(definition: pb.Definition) -> Exec | Sequence:
    if definition.HasField("exec") == bool(definition.steps):
        raise InputError("the definition must have either exec or steps; keep one of them")
    if definition.HasField("exec"):
        if not definition.exec.command:
            raise InputError('exec has no command; add one, such as command: "echo"')
        return Exec(command=tuple(definition.exec.command), work_dir=definition.exec.work_dir or None)
    return Sequence(
        steps=tuple(_step(step) for step in definition.steps),
        outputs=_values(definition.outputs),
        delegate=definition.delegate or None,
    )


def _step(message: pb.Step) -> Step:
    inputs = _values(message.inputs)
    try:
        call = _call(message.step)
    except InputError as error:
        raise InputError(f'step "{message.name}": {error}') from error
    if call == Builtin(name="script") and isinstance(text := inputs.get("script"), str):
        return Step(name=message.name, call=Script(text=text), env=dict(message.env))
    return Step(name=message.name, call=call, inputs=inputs, env=dict(message.env))


def _call(message: pb.Step.Reference) -> Reference:
    path = "/".join(message.paths.parts or message.path)
    protocol = pb.StepReferenceProtocol.Name(message.protocol)
    match protocol:
        case "local":
            return Local(path=path or ".", file=message.filename or None)
        case "git":
            return git_reference(message.url, message.version, path, message.filename or None)
        case "oci":
            return oci_reference(message.registry, message.repository, message.tag, path, message.filename or None)
        case "dist":
            return Builtin(name=path)
        case "dynamic":
            return Dynamic(template=message.path_exp or message.url)
        case _:
            raise InputError(f"references of the protocol {protocol} are not supported; use local, git, oci or dist")


def _values(messages: Mapping[str, ValueMessage]) -> dict[str, Value]:
    return {name: _value(messages[name]) for name in messages}


def _value(message: ValueMessage) -> Value:
    match message.WhichOneof("kind"):
        case "bool_value":
            return message.bool_value
        case "number_value":
            number = message.number_value
            return int(number) if number.is_integer() and abs(number) <= EXACT else number
        case "string_value":
            return message.string_value
        case "list_value":
            return [_value(item) for item in message.list_value.values]
        case "struct_value":
            return _values(message.struct_value.fields)
        case _:
            return None
