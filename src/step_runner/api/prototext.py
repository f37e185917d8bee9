"""Protobuf's text form: reads functions in it, and writes step results in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import json_format, text_format
from google.protobuf.message import DecodeError
from msgspec import UNSET

from step_runner import model
from step_runner.api.pb import step_pb2 as pb
from step_runner.errors import FunctionFileError, InputError
from step_runner.functions.reference import git_reference, oci_reference

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_function(text: str, *, file: str, directory: str = "") -> model.Function:
    """Return the function that a `proto.SpecDefinition` in text form defines.

    `file` is its name in messages; its local references start in `directory`. Raise FunctionFileError.
    """
    message = pb.SpecDefinition()
    try:
        text_format.Parse(text, message)
        document = json_format.MessageToDict(message, preserving_proto_field_name=True)
        return _function(document, file, directory)
    except text_format.ParseError as error:
        place = model.Place(file=file, line=error.GetLine() or 1, column=error.GetColumn() or 1)
        sentence = (str(error).partition(" : ")[2] or str(error)).strip().rstrip(".")
        fault = f"not a SpecDefinition in protobuf's text form: {sentence}"
        raise FunctionFileError([model.Problem(place=place, message=fault)]) from error
    except (InputError, ValueError, json_format.Error) as error:
        # Messages do not keep the number of their line.
        place = model.Place(file=file, line=1, column=1)
        raise FunctionFileError([model.Problem(place=place, message=str(error))]) from error


def result_text(json: str) -> str:
    """Return a step result in text form, from its JSON form; bytes that are not UTF-8 become `?`.

    Raise InputError for values nested deeper than protobuf allows: 100 messages.
    """
    try:
        message = json_format.Parse(json.encode(errors="replace"), pb.StepResult())
        return text_format.MessageToString(message, as_utf8=True)
    except (json_format.ParseError, DecodeError) as error:
        raise InputError("a value is nested too deeply for protobuf: choose the format json") from error


def _function(document: Mapping[str, Any], file: str, directory: str) -> model.Function:
    spec, definition = document.get("spec", {}).get("spec", {}), document.get("definition", {})
    delegates = spec.get("output_method") == "delegate"
    return model.Function(
        spec=model.Spec(
            inputs=_parameters(spec.get("inputs", {})),
            outputs="delegate" if delegates else _parameters(spec.get("outputs", {})),
        ),
        body=_body(definition),
        env=definition.get("env", {}),
        directory=directory,
        file=file,
    )


def _parameters(declared: Mapping[str, Any]) -> dict[str, model.Parameter]:
    for name, one in declared.items():
        if "type" not in one:
            raise InputError(f'"{name}" has no type; write type: string, number, boolean, array or struct')
        one["type"] = model.ValueType(one["type"])
        if one.get("default") is None:
            one["default"] = UNSET
    return {name: model.Parameter(**one) for name, one in declared.items()}


def _body(definition: Mapping[str, Any]) -> model.Exec | model.Sequence:
    if ("exec" in definition) == ("steps" in definition):
        raise InputError("the definition must have either exec or steps; keep one of them")
    if (command := definition.get("exec")) is not None:
        if "command" not in command:
            raise InputError('exec has no command; add one, such as command: "echo"')
        return model.Exec(command=tuple(command["command"]), work_dir=command.get("work_dir"))
    return model.Sequence(
        steps=tuple(map(_step, definition["steps"])),
        outputs=definition.get("outputs", {}),
        delegate=definition.get("delegate"),
    )


def _step(item: Mapping[str, Any]) -> model.Step:
    name, inputs, env = item.get("name", ""), item.get("inputs", {}), item.get("env", {})
    try:
        call = _call(item.get("step", {}))
    except InputError as error:
        raise InputError(f'step "{name}": {error}') from error
    if call == model.Builtin(name="script") and isinstance(text := inputs.get("script"), str):
        return model.Step(name=name, call=model.Script(text=text), env=env)
    return model.Step(name=name, call=call, inputs=inputs, env=env)


def _call(called: Mapping[str, Any]) -> model.Reference:
    path = "/".join(called.get("paths", {}).get("parts") or called.get("path", ()))
    url, file = called.get("url", ""), called.get("filename")
    match called.get("protocol", "unspecified"):
        case "local":
            return model.Local(path=path or ".", file=file)
        case "git":
            return git_reference(url, called.get("version", ""), path, file)
        case "oci":
            registry, repository, tag = (called.get(name, "") for name in ("registry", "repository", "tag"))
            return oci_reference(registry, repository, tag, path, file)
        case "dist":
            return model.Builtin(name=path)
        case "dynamic":
            return model.Dynamic(template=called.get("path_exp") or url)
        case protocol:
            raise InputError(f"references of the protocol {protocol} are not supported; use local, git, oci or dist")
