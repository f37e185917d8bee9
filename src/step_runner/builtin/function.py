"""From the name of a Python function to its plan: a command that runs it in a separate process."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from pkgutil import resolve_name
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

from gracefulexitcmd import Cause, Cmd
from step_runner.builtin.catalog import PACKAGE, SCRIPT, Offer, find
from step_runner.builtin.signature import spec_of
from step_runner.errors import FetchError
from step_runner.expression import escape_template
from step_runner.model import SCRIPT_SPEC, Exec, Function, Parameter, Spec, ValueType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gracefulexitcmd import Exit
    from step_runner.proc import Proc

START = str(Path(__file__).with_name("start.py"))

FUNCTION = "--python-function"
"""The argument that makes the single file run one function, as START does."""

PATIENCE = 60.0
"""The most seconds that the import of a package may take."""

GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL for an import that takes too long or is cancelled."""


def python_function(offer: Offer, proc: Proc) -> Function:
    """Return the plan of a function. Its command gets all values through stdin, which no other process can read.

    Raise FetchError if it cannot be imported or its signature lacks types, StoppedError if the job is cancelled.
    """
    request = escape_template(json.dumps(_request(offer))[:-1])
    values = '"inputs": ${{ inputs }}, "files": ${{ [output_file, export_file] }}, "variables": ${{ vars }}}'
    command = tuple(map(escape_template, _command(offer)))
    return Function(spec=_spec(offer, proc), body=Exec(command=command, input=f"{request}, {values}"))


def spec(name: str, proc: Proc) -> Spec:
    """Return the specification of the function with a name. Raise as `catalog.find` and `python_function`."""
    return _spec(find(name), proc)


def _request(offer: Offer) -> dict[str, object]:
    # Entries may be relative to the directory in which the step runner was started; its children run in others.
    path = [os.path.abspath(entry) for entry in sys.path]
    return {"path": path, "target": offer.target, "shown": str(offer)}


def _command(offer: Offer) -> tuple[str, ...]:
    if getattr(sys, "frozen", False):  # the single file, which is not an interpreter
        return (sys.executable, FUNCTION, offer.name)
    # -I: no variable of the step may change the imports.
    return (sys.executable, "-I", "-X", "utf8", START, offer.name)


def _spec(offer: Offer, proc: Proc) -> Spec:
    if offer.name == SCRIPT:
        return SCRIPT_SPEC
    if offer.package == PACKAGE:
        return spec_of(resolve_name(offer.target))
    return _described(offer, proc)


def _described(offer: Offer, proc: Proc) -> Spec:
    """Return the specification of a package's function. Import the package in a separate process."""
    command = Cmd(
        _command(offer),
        input=json.dumps(_request(offer)).encode(errors="surrogateescape"),
        stdout=PIPE,
        stderr=PIPE,
        grace=GRACE,
        timeout=PATIENCE,
    )
    with proc.listening(lambda _: command.cancel()):
        ended = command.run()
    proc.check()
    try:
        answer = json.loads(ended.stdout or b"")
    except ValueError:
        raise _unusable(offer, f"it cannot be imported: {_reason(ended)}") from None
    if "problem" in answer:
        raise _unusable(offer, answer["problem"])
    return Spec(inputs=_parameters(answer["spec"]["inputs"]), outputs=_parameters(answer["spec"]["outputs"]))


def _parameters(described: Mapping[str, Any]) -> dict[str, Parameter]:
    return {name: Parameter(**{**one, "type": ValueType(one["type"])}) for name, one in described.items()}


def _unusable(offer: Offer, problem: str) -> FetchError:
    return FetchError(f"fetching builtin function: {offer}: {problem}; fix the package, or install another version")


def _reason(ended: Exit) -> str:
    if ended.cause is Cause.TIMEOUT:
        return f"that takes longer than {PATIENCE:g} s"
    lines = (ended.stderr or b"").decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"its process ended with status {ended.returncode}"
