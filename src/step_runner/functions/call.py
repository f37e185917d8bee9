"""The one step that calls the function which a user names, by a path, another reference or an item of a run list."""

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
from step_runner.model import Local, Sequence, Step, Typed
from step_runner.paths import with_slashes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from step_runner.model import Function, Problem, Reference

WRITTEN_AS_YAML = ("func:", "step:")
"""How a reference begins that is not a path or an address, but an item of a run list."""

LIKE_A_PATH = re.compile(r"[\w./-]+")
"""Neither a scheme nor a tag, digest or revision."""


class Called(NamedTuple):
    """The step that calls the function, the functions that need not be looked for, and what to warn of."""

    step: Step
    known: Mapping[Reference, Function] = {}
    warnings: tuple[Problem, ...] = ()

    def with_values(self, inputs: Mapping[str, Typed], env: Mapping[str, str]) -> Called:
        """Return the same with more inputs and environment variables, which win over those that it has."""
        step = self.step
        return self._replace(step=msgspec.structs.replace(step, typed=inputs, env={**step.env, **env}))


def call_of(text: str) -> Called:
    """Return the call of what a text names. Raises StepRunnerError where it names nothing that can be called."""
    if text.lstrip().startswith(WRITTEN_AS_YAML):
        return _item(text)
    reference = parse_reference(_as_path(text))
    return Called(step_calling(reference, "" if isinstance(reference, Local) else text))


def step_calling(reference: Reference, name: str) -> Step:
    """Return a step that calls a reference and is named after a text, or after the path where that is empty.

    Raises InputError for a file that no reference can name: it would be taken for a directory.
    """
    path = reference.path if isinstance(reference, Local) and reference.file is None else ""
    if os.path.isfile(path) and not names_step_file(path):
        raise InputError(f"{path}: the name of a step file must end in .yml or .yaml: rename it")
    if name or not isinstance(reference, Local):
        return Step(name=_name(name), call=reference)
    return Step(name=_name_of_path(reference), call=reference)


def typed_input(name: str, text: str) -> Typed:
    """Return an input as it was typed, with what it means as YAML or why it is none."""
    try:
        documents = read_documents(text, name, most=1)
        if documents.problems:
            raise FunctionFileError(documents.problems)
    except FunctionFileError as error:
        return Typed(text=text, fault=str(error))
    return Typed(text=text, value=value_of(documents.nodes[0]) if documents.nodes else None)


def note_on(text: str) -> str | None:
    """Return what to say of a text that may have been meant for a directory and is taken for an image."""
    could_be_path = LIKE_A_PATH.fullmatch(text) and "/" in text and "." not in text.partition("/")[0]
    if could_be_path and not os.path.exists(text) and not names_step_file(text):
        return f"note: there is no directory {text} here, so it is taken for an image of {REGISTRY}"
    return None


def _item(text: str) -> Called:
    """The step that one item of a run list describes, named after the function where it has no name."""
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
    """A problem where it stands in what the user wrote, without the dash that makes it an item of a list."""
    place = msgspec.structs.replace(problem.place, column=max(1, problem.place.column - len("- ")))
    return msgspec.structs.replace(problem, place=place)


def _as_path(text: str) -> str:
    """A reference that is the path of a file or directory needs no `./` in front."""
    looks_like_file = names_step_file(text) and not re.search(r"@|\s|://", text)
    is_path = os.path.exists(text) or looks_like_file or (LIKE_A_PATH.fullmatch(text) and "/" not in text)
    return f"./{text}" if is_path and not (text.startswith(".") or os.path.isabs(text)) else text


def _name(text: str) -> str:
    """A name for the step, from the file, directory or repository that it calls."""
    return _named_after(re.sub(r"(?<=.)@[^/@]*$|(?<=.):[^/:]*$", "", with_slashes(text).rstrip("/")))


def _name_of_path(call: Local) -> str:
    return _named_after(os.path.join(call.path, call.file or ""))


def _named_after(path: str) -> str:
    base, ending = os.path.splitext(os.path.basename(os.path.abspath(path)))
    if base in ("func", "step") and ending:
        base = os.path.basename(os.path.dirname(os.path.abspath(path)))
    name = re.sub(r"\W", "_", base, flags=re.ASCII) or "run"
    return f"_{name}" if name[0].isdigit() else name
