"""Results as JSON: the tree of step results as GitLab's tools read it, and the record of a run."""

from __future__ import annotations

import datetime
import json
import os
import re
import stat
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from step_runner import model, private
from step_runner.expression import reveal
from step_runner.runner.masks import masked

if TYPE_CHECKING:
    from collections.abc import Callable

    from gracefulexitcmd import EndedProcess
    from step_runner.jobs.local import LocalResult
    from step_runner.runner.masks import Masks

Json: TypeAlias = dict[str, object]
Plain: TypeAlias = "Callable[[model.Value | model.Secret], model.Value]"
"""Returns a value as a report holds it: a secret is revealed or masked."""

STANDARD = {"stdout": 1, "stderr": 2}
"""The numbers of the standard streams."""

OPEN_ALREADY = re.compile(r"/dev/(?P<name>stdout|stderr)|(/dev|/proc/self)/fd/(?P<number>[0-9]{1,9})")
"""Paths that name an open descriptor of this process."""


PATHS = ("path", "directory", "name")
RENAMED = {"type": "protocol", "revision": "version", "file": "filename", "template": "pathExp"}
"""The fields of a reference that hold its path, and those with another name in protobuf."""


def result_tree(result: model.StepResult) -> Json:
    """Return a step result as the JSON form of `proto.StepResult`: camelCase names, no empty fields.

    This needs no import of protobuf, which takes longer than many functions run.
    """
    return _own_tree(result, reveal) | _filled(subStepResults=[result_tree(child) for child in result.sub_results])


def _own_tree(result: model.StepResult, plain: Plain) -> Json:
    return _filled(
        step=_filled(
            name=result.name,
            step=_reference(result.call) if result.call is not None else None,
            env=dict(result.step_env),
            inputs={name: plain(value) for name, value in result.inputs.items()},
        ),
        specDefinition=_filled(
            spec={"spec": _spec(result.function.spec, plain)}, definition=_definition(result.function)
        ),
        status=result.status.name.lower(),
        outputs={name: plain(value) for name, value in result.outputs.items()},
        exports=dict(result.exports),
        env=dict(result.env),
        execResult=_exec_result(result),
    )


def run_record(result: LocalResult) -> Json:
    """Return the record of a run, for people: its status and times, how its processes ended, and its steps.

    Secrets are `***`. The environment of a step holds only what it and its function set.
    """
    job = result.status
    return {"status": job.status.name.lower(), "exitStatus": result.exit_status} | _filled(
        errorKind=job.kind.name.lower() if job.kind is not None else None,
        message=job.message,
        startTime=_time(job.start_time),
        endTime=_time(job.end_time),
        termination=_termination(job.termination) if job.termination is not None else None,
        result=_shown_tree(result.result, result.masks) if result.result is not None else None,
    )


def _shown_tree(result: model.StepResult, masks: Masks) -> Json:
    """Return the tree of a step with its times and output sizes, without secrets and inherited variables."""
    env = {name: str(masked(value)) for name, value in result.own_env.items()}
    bare = msgspec.structs.replace(result, env=env, step_env={}, function=_without_inputs(result.function))
    tree = _own_tree(bare, masked)
    if (done := result.exec_result) is not None:
        tree["execResult"] = {
            "command": list(result.shown_command),
            "workDir": done.work_dir,
            "exitCode": done.exit_code,
            "outputBytes": done.output_bytes,
        }
    times = {"startTime": _time(result.start_time), "duration": round(max(0.0, result.end_time - result.start_time), 6)}
    hidden = {name: value if name == "status" else _hidden(value, masks) for name, value in tree.items()}
    return hidden | times | _filled(subStepResults=[_shown_tree(child, masks) for child in result.sub_results])


def _without_inputs(function: model.Function) -> model.Function:
    """Return the function without the inputs that its steps give: the results of the steps have them."""
    if not isinstance(function.body, model.Sequence):
        return function
    steps = tuple(msgspec.structs.replace(step, inputs={}, typed={}) for step in function.body.steps)
    return msgspec.structs.replace(function, body=msgspec.structs.replace(function.body, steps=steps))


def _hidden(value: object, masks: Masks) -> object:
    """Return the same value with every secret in its texts replaced."""
    match value:
        case str():
            return masks.hidden(value)
        case list():
            return [_hidden(item, masks) for item in value]
        case dict():
            return {name: _hidden(item, masks) for name, item in value.items()}
        case _:
            return value


def text(content: Json) -> str:
    """Return JSON that people and programs can read."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def write(path: str, content: str) -> None:
    """Write a record that only its owner can read: an environment may hold secrets. Raise OSError.

    A regular file is replaced as a whole. So are a symbolic link and a FIFO: another user may have put it there. The
    record is written to an open descriptor, such as /dev/stdout, and to a device.
    """
    content_bytes = content.encode(errors="replace")
    descriptor = _opened(path)
    if descriptor is None:
        private.replace(path, content_bytes)
        return
    with open(descriptor, "wb") as file:
        file.write(content_bytes)


def _opened(path: str) -> int | None:
    """Return a descriptor for a file that is written and not replaced; None for any other. Raise OSError."""
    if (found := OPEN_ALREADY.fullmatch(path)) is not None:
        return os.dup(int(found["number"] or STANDARD[found["name"]]))
    try:
        is_device = stat.S_ISCHR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return None
    return os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)) if is_device else None


def _termination(termination: model.Termination) -> Json:
    ended = termination.ended
    status = {} if ended.returncode is None else {"exitStatus": ended.returncode}
    return {"step": termination.step, "cause": str(ended.cause), **status} | _filled(
        forced=ended.forced,
        hurried=ended.hurried,
        startTime=_time(termination.start_time),
        duration=round(ended.duration, 6),
        signals=[
            {"name": sent.name, "after": round(sent.after, 6), "processes": sent.processes} for sent in ended.signals
        ],
        census=[_process(process) for process in ended.census],
    )


def _process(process: EndedProcess) -> Json:
    why = process.why
    reason = {} if why is None else {"reason": why.reason, "detail": why.detail, "why": str(why)}
    return {
        "pid": process.pid,
        "program": process.program,
        "argv": list(process.argv),
        "found": process.found,
        "endedBy": process.ended_by,
        **reason,
    }


def _reference(call: model.Reference | model.Script) -> Json:
    if isinstance(call, model.Script):
        return _reference(model.Builtin(name="script"))
    fields = msgspec.to_builtins(call)
    path = "".join(fields.pop(name, "") for name in PATHS)
    renamed = {RENAMED.get(name, name): value for name, value in fields.items()}
    if isinstance(call, model.Builtin):
        renamed["protocol"] = "dist"
    return _filled(**renamed, paths={"parts": path.split("/")} if path else None)


def _spec(spec: model.Spec, plain: Plain) -> Json:
    inputs = {name: _parameter(one, plain) for name, one in spec.inputs.items()}
    if spec.outputs == "delegate":
        return _filled(inputs=inputs, outputMethod="delegate")
    outputs = {name: _parameter(one, plain) for name, one in spec.outputs.items()}
    return _filled(inputs=inputs, outputs=outputs, outputMethod="outputs")


def _parameter(parameter: model.Parameter, plain: Plain) -> Json:
    fields = _filled(type=str(parameter.type), sensitive=parameter.sensitive)
    if parameter.default is msgspec.UNSET:
        return fields
    # A default is a message: it is present even when it holds false or an empty value.
    return {**fields, "default": plain(model.Secret(parameter.default)) if parameter.sensitive else parameter.default}


def _definition(function: model.Function) -> Json:
    body = function.body
    if isinstance(body, model.Exec):
        command = _filled(command=list(body.command), workDir=body.work_dir)
        return _filled(type="exec", exec=command, env=dict(function.env))
    return _filled(
        type="steps",
        steps=[_step(step) for step in body.steps],
        outputs=dict(body.outputs),
        env=dict(function.env),
        delegate=body.delegate,
    )


def _step(step: model.Step) -> Json:
    inputs = {"script": step.call.text} if isinstance(step.call, model.Script) else {**step.inputs, **_typed(step)}
    return _filled(name=step.name, step=_reference(step.call), env=dict(step.env), inputs=inputs)


def _exec_result(result: model.StepResult) -> Json | None:
    if result.exec_result is None:
        return None
    done = result.exec_result
    # GitLab's step-runner uses -1 for a command that a signal ended.
    return _filled(command=list(done.command), workDir=done.work_dir, exitCode=max(done.exit_code, -1))


def _filled(**fields: object) -> Json:
    """Return the fields that differ from protobuf's default."""
    return {name: value for name, value in fields.items() if value}


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")


def _typed(step: model.Step) -> Json:
    """Return the typed inputs as the definition shows them: it lacks their declared types."""
    return {
        name: typed.text if isinstance(typed.value, msgspec.UnsetType) else typed.value
        for name, typed in step.typed.items()
    }
