"""Writes the request of `start` to a server: a step that calls a function, as the text of a step file."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any, assert_never

import msgspec

from step_runner.cli.local import current_directory
from step_runner.errors import InputError
from step_runner.model import Builtin, Dynamic, Git, Local, Oci, Script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from step_runner.functions.call import Called
    from step_runner.model import Function, Reference, Spec, Step, Value

SHORT = {"revision": "rev", "directory": "dir"}
"""The fields of a reference that have another name in a step file."""

FETCH_GRACE = 0.0
"""The grace period of a fetch, in seconds: its processes need none."""


def text_of(what: Called) -> str:
    """Return the text by which a server on this machine runs the step. Check a function on this machine first.

    Fetch a function from elsewhere if it has typed inputs, because it declares their types. Raise StepRunnerError if
    the function or an input cannot be used.
    """
    from step_runner.cli.source import check_local

    step = what.step
    reference = _written(step.call)
    spec = check_local(what)
    if step.typed and spec is None:
        spec = _fetched(what)
    item = {"name": step.name, **reference, "inputs": {**step.inputs, **_values(step, spec)}, "env": dict(step.env)}
    # JSON is YAML, so a string with any character in it stays one string.
    return "{}\n---\n" + json.dumps({"run": [{key: part for key, part in item.items() if part}]}, ensure_ascii=False)


def _values(step: Step, spec: Spec | None) -> Mapping[str, Value]:
    """Return the typed inputs, each as a value of its declared type."""
    from step_runner.runner.binding import typed_value

    if spec is None:
        return {}
    return {name: typed_value(name, typed, spec.inputs[name].type) for name, typed in step.typed.items()}


def _fetched(what: Called) -> Spec:
    """Fetch a function from elsewhere and return its specification; the server then finds it in the cache."""
    from step_runner.cli.problems import refuse_inputs

    step = what.step
    if isinstance(step.call, Dynamic):
        raise InputError(
            f'the types of the inputs of "{step.call.template}" are not known here:'
            " name the function without an expression, or write func: and inputs: into one REFERENCE"
        )
    assert not isinstance(step.call, Script)
    environment = {**os.environ, **step.env}
    function = asyncio.run(_resolved(step.call, environment))
    refuse_inputs(step, function.spec)
    return function.spec


async def _resolved(call: Reference, environment: Mapping[str, str]) -> Function:
    """Return the function that a reference names. Ctrl-C cancels this coroutine, and thus the fetch."""
    from step_runner.jobs.resolver import resolve
    from step_runner.proc import Proc

    return await resolve(Proc(FETCH_GRACE), call, "", lambda: environment)


def _written(call: Reference | Script) -> dict[str, Any]:
    """Return the keys of a step that call a function; a path is absolute. Raise InputError for an expression in it."""
    match call:
        case Local():
            path = os.path.join(current_directory(), call.path, call.file or "")
            return {"func": _without_expression(os.path.normpath(path))}
        case Git() | Oci():
            fields = msgspec.to_builtins(call)
            kind = fields.pop("type")
            return {"func": {kind: {SHORT.get(name, name): part for name, part in fields.items() if part}}}
        case Builtin():
            return {"func": f"builtin://{call.name}"}
        case Dynamic():
            is_file = os.path.exists(call.template)  # its path holds an expression
            return {"func": _without_expression(call.template) if is_file else call.template}
        case Script():
            return {"script": call.text}
        case _:
            assert_never(call)


def _without_expression(path: str) -> str:
    if "${{" in path:
        raise InputError(f"{path}: the path of a file cannot hold an expression: give another name")
    return path
