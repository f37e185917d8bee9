"""The names that an expression at one place of a step file may use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from step_runner.functions.types import STRING, STRUCT, Finding, Kind
from step_runner.spelling import meant

if TYPE_CHECKING:
    from step_runner.functions.expressions import Path
    from step_runner.model import Parameter

CONTEXTS = (
    "env",
    "export_file",
    "func_dir",
    "inputs",
    "job",
    "output_file",
    "step_dir",
    "steps",
    "vars",
    "work_dir",
)
Names: TypeAlias = "Mapping[str, Parameter] | None"
"""Inputs or outputs that are known to exist, as they are declared; None if they cannot be known."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs, the outputs of the steps that ran before, and the names of all steps."""

    inputs: Names
    steps: Mapping[str, Names] = {}
    all_steps: frozenset[str] = frozenset()

    def finding(self, path: Path) -> Finding | None:
        """Return the problem of a path, None if no problem is known before evaluation."""
        (context, start), *following = path
        if context not in CONTEXTS:
            return Finding(start, f'"{context}" is not a valid name in expressions{meant(context, CONTEXTS)}')
        if not following:
            return None
        if context == "inputs":
            return self._unknown_input(*following[0])
        return self._unknown_output(following) if context == "steps" else None

    def kind(self, path: Path) -> Kind | None:
        """Return the type of a path's value, None if it is not known."""
        names = [name for name, _ in path]
        match names:
            case ["env" | "vars" | "job" | "inputs" | "steps"] | ["steps", _] | ["steps", _, "outputs"]:
                return STRUCT
            case ["env" | "vars" | "job", _]:
                return STRING
            case ["inputs", name] if self.inputs is not None and name in self.inputs:
                return Kind(self.inputs[name].type, declared=True)
            case ["steps", step, "outputs", name] if (outputs := self.steps.get(step)) is not None and name in outputs:
                return Kind(outputs[name].type)
            case [context] if context in CONTEXTS:
                return STRING
        return None

    def _unknown_input(self, name: str, start: int) -> Finding | None:
        if self.inputs is None or name in self.inputs:
            return None
        advice = meant(name, self.inputs) or "; declare it under inputs in the specification"
        return Finding(start, f'input "{name}" is not declared{advice}')

    def _unknown_output(self, following: list[tuple[str, int]]) -> Finding | None:
        (name, start), *following = following
        if name not in self.steps:
            if name in self.all_steps:
                return Finding(start, f'step "{name}" has not run yet; use its outputs in a later step')
            return Finding(start, f'no step "{name}" runs before{meant(name, self.steps)}')
        if following and following[0][0] != "outputs":
            return Finding(following[0][1], f'a step has no "{following[0][0]}"; write steps.{name}.outputs.NAME')
        outputs = self.steps[name]
        if len(following) < 2 or outputs is None or following[1][0] in outputs:
            return None
        output, start = following[1]
        return Finding(start, f'step "{name}" has no output "{output}"{meant(output, outputs)}')
