"""Builds the one step that calls a user's function, named by a path, another reference or an item of a run list."""

from __future__ import annotations

import os
import re
import textwrap
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from step_runner.errors import FunctionFileError, InputError
from step_runner.functions.document import read_documents
from step_runner.functions.loader import load_run_list
from step_runner.functions.nodes import value_of
from step_runner.functions.reference import REGISTRY, names_step_file, parse_reference
from step_runner.model import Function, Local, Sequence, Spec, Step, Typed
from step_runner.paths import with_slashes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from step_runner.model import Problem, Reference

WRITTEN_AS_YAML = ("func:", "step:")
"""The beginnings of a text that is an item of a run list and not a path or an address."""

LIKE_A_PATH = re.compile(r"[\w./-]+")
"""A text without a scheme, tag, digest and revision."""


class Called(NamedTuple):
    """The step that calls the function, the functions that are already known, and the warnings."""

    step: Step
    known: Mapping[Reference, Function] = {}
    warnings: tuple[Problem, ...] = ()

    def with_values(self, inputs: Mapping[str, str], env: Mapping[str, str]) -> Called:
        """Return a copy with more inputs and environment variables; they override those of the step."""
        typed = {name: typed_input(name, text) for name, text in inputs.items()}
        return self._replace(step=msgspec.structs.replace(self.step, typed=typed, env={**self.step.env, **env}))

    @property
    def function(self) -> Function:
        """The function that consists of this step."""
        return Function(spec=Spec(), body=Sequence(steps=(self.step,)))


def call_of(text: str) -> Called:
    """Return the call of the function that a text names. Raise StepRunnerError if it names no callable function."""
    if text.lstrip().startswith(WRITTEN_AS_YAML):
        return _item(text)
    reference = parse_reference(_as_path(text))
    return Called(step_calling(reference, "" if isinstance(reference, Local) else text))


def step_calling(reference: Reference, name: str) -> Step:
    """Return a step that calls a reference. The step's name comes from `name`, or from the path if `name` is empty.

    Raise InputError for a file without the suffix of a step file: a reference to it would mean a directory.
    """
    path = reference.path if isinstance(reference, Local) and reference.file is None else ""
    if os.path.isfile(path) and not names_step_file(path):
        raise InputError(f"{path}: the name of a step file must end in .yml or .yaml: rename it")
    if name or not isinstance(reference, Local):
        return Step(name=_name(name), call=reference)
    return Step(name=_name_of_path(reference), call=reference)


def typed_input(name: str, text: str) -> Typed:
    """Return an input as it was typed, with its value as YAML, or with the error if it is not valid YAML."""
    try:
        documents = read_documents(text, name, most=1)
        if documents.problems:
            raise FunctionFileError(documents.problems)
    except FunctionFileError as error:
        return Typed(text=text, fault=str(error))
    return Typed(text=text, value=value_of(documents.nodes[0]) if documents.nodes else None)


def note_on(text: str) -> str | None:
    """Return a note if a text is read as an image but may mean a directory, None otherwise."""
    could_be_path = LIKE_A_PATH.fullmatch(text) and "/" in text and "." not in text.partition("/")[0]
    if could_be_path and not os.path.exists(text) and not names_step_file(text):
        return f"note: directory {text} does not exist here, so it is taken for an image of {REGISTRY}"
    return None


def _item(text: str) -> Called:
    """Return the step that one item of a run list describes; without a name it gets the function's."""
    item = "- " + textwrap.dedent(text).strip().replace("\n", "\n  ")
    try:
        function, warnings = load_run_list(item, file="REFERENCE")
    except FunctionFileError as error:
        raise FunctionFileError([_without_dash(problem) for problem in error.problems]) from None
    assert isinstance(function.body, Sequence)
    step = function.body.steps[0]
    name = step.name or (_name_of_path(step.call) if isinstance(step.call, Local) else "run")
    return Called(msgspec.structs.replace(step, name=name), warnings=tuple(map(_without_dash, warnings)))


def _without_dash(problem: Problem) -> Problem:
    """Return a problem with its column in the user's text, which lacks the "- " that makes it an item of a list."""
    place = msgspec.structs.replace(problem.place, column=max(1, problem.place.column - len("- ")))
    return msgspec.structs.replace(problem, place=place)


def _as_path(text: str) -> str:
    """Return a reference with `./` in front if it is the path of a file or directory and lacks it."""
    looks_like_file = names_step_file(text) and not re.search(r"@|\s|://", text)
    is_path = os.path.exists(text) or looks_like_file or (LIKE_A_PATH.fullmatch(text) and "/" not in text)
    return f"./{text}" if is_path and not (text.startswith(".") or os.path.isabs(text)) else text


def _name(text: str) -> str:
    """Return a name for the step, from the file, directory or repository that it calls."""
    return _named_after(re.sub(r"(?<=.)@[^/@]*$|(?<=.):[^/:]*$", "", with_slashes(text).rstrip("/")))


def _name_of_path(call: Local) -> str:
    return _named_after(os.path.join(call.path, call.file or ""))


def _named_after(path: str) -> str:
    base, ending = os.path.splitext(os.path.basename(os.path.abspath(path)))
    if base in ("func", "step") and ending:
        base = os.path.basename(os.path.dirname(os.path.abspath(path)))
    name = re.sub(r"\W", "_", base, flags=re.ASCII) or "run"
    return f"_{name}" if name[0].isdigit() else name
