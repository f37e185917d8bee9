"""What `run` is to run: from its arguments to the one step that calls it."""

from __future__ import annotations

import os
import re
import textwrap
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec

from step_runner.errors import FunctionFileError, InputError
from step_runner.paths import with_slashes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from step_runner.model import Function, Problem, Reference, Step, Typed

NO_STEP = "no step specified: name a step file, a directory or another reference, or use --git-url or --oci-registry"

WRITTEN_AS_YAML = ("func:", "step:")
"""How a reference begins that is not a path or an address, but an item of a run list."""

LIKE_A_PATH = re.compile(r"[\w./-]+")
"""Neither a scheme nor a tag, digest or revision."""


class GitOptions(NamedTuple):
    """A function in a git repository, as the options name it."""

    url: str | None = None
    revision: str | None = None
    directory: str = ""


class OciOptions(NamedTuple):
    """A function in a registry, as the options name it."""

    registry: str | None = None
    repository: str | None = None
    tag: str = ""
    directory: str = ""
    file: str | None = None


class Called(NamedTuple):
    """The step that calls the function, the functions that need not be looked for, and what to warn of."""

    step: Step
    known: Mapping[Reference, Function] = {}
    warnings: tuple[Problem, ...] = ()

    def with_values(self, inputs: Mapping[str, Typed], env: Mapping[str, str]) -> Called:
        """The same with more inputs and environment variables, which win over those that it has."""
        step = self.step
        given = msgspec.structs.replace(step, typed=inputs, env={**step.env, **env})
        return self._replace(step=given)


def called(text_proto: str | None, reference: str | None, git: GitOptions, oci: OciOptions) -> Called:
    """The step for the first source that is given: a file in text form, a reference, git, a registry.

    Raises StepRunnerError where it cannot be used, click.UsageError where none or only half of one is given.
    """
    from step_runner.functions.reference import parse_reference

    if text_proto is not None:
        return _from_text_proto(text_proto)
    if reference is None:
        return Called(_from_git(git) if git.url else _from_oci(oci))
    if reference.lstrip().startswith(WRITTEN_AS_YAML):
        return _from_yaml(reference)
    _tell_what_it_is_taken_for(reference)
    return Called(_step(_name(reference), parse_reference(_as_path(reference))))


def _tell_what_it_is_taken_for(text: str) -> None:
    """Say that a text which may have been meant for a directory is taken for an image."""
    from step_runner.functions.reference import REGISTRY, names_step_file

    could_be_path = LIKE_A_PATH.fullmatch(text) and "/" in text and "." not in text.partition("/")[0]
    if could_be_path and not os.path.exists(text) and not names_step_file(text):
        click.echo(f"note: there is no directory {text} here, so it is taken for an image of {REGISTRY}", err=True)


def _from_text_proto(path: str) -> Called:
    from step_runner.api.prototext import read_function
    from step_runner.functions.source import read_text
    from step_runner.model import Local

    function = read_function(read_text(path, path), file=path, directory=os.path.dirname(os.path.abspath(path)))
    reference = Local(path=function.directory, file=os.path.basename(path))
    return Called(_step(_name(path), reference), {reference: function})


def _from_yaml(text: str) -> Called:
    """The step that one item of a run list describes, named after the function where it has no name."""
    from step_runner.functions.load import load_run_list
    from step_runner.model import Local, Sequence

    item = "- " + textwrap.dedent(text).strip().replace("\n", "\n  ")
    try:
        function, warnings = load_run_list(item, file="REFERENCE")
    except FunctionFileError as error:
        raise FunctionFileError([_without_dash(problem) for problem in error.problems]) from None
    assert isinstance(function.body, Sequence)
    step = function.body.steps[0]
    name = step.name or (_name(step.call.path) if isinstance(step.call, Local) else "run")
    return Called(msgspec.structs.replace(step, name=name), warnings=tuple(map(_without_dash, warnings)))


def _without_dash(problem: Problem) -> Problem:
    """A problem where it stands in what the user wrote, without the dash that makes it an item of a list."""
    place = msgspec.structs.replace(problem.place, column=max(1, problem.place.column - len("- ")))
    return msgspec.structs.replace(problem, place=place)


def _from_git(git: GitOptions) -> Step:
    from step_runner.functions.reference import git_reference

    if not git.revision:
        raise click.UsageError("--git-url needs --git-rev: a tag, a branch or a commit")
    assert git.url is not None
    return _step(_name(git.directory or git.url), git_reference(git.url, git.revision, git.directory))


def _from_oci(oci: OciOptions) -> Step:
    from step_runner.functions.reference import oci_reference

    if not oci.registry:
        raise click.UsageError(NO_STEP)
    if not oci.repository:
        raise click.UsageError("--oci-registry needs --oci-repository: the image's path in the registry")
    reference = oci_reference(oci.registry, oci.repository, oci.tag, oci.directory, oci.file)
    return _step(_name(oci.directory or oci.repository), reference)


def _step(name: str, call: Reference) -> Step:
    from step_runner.model import Local, Step

    if isinstance(call, Local) and call.file is None:
        refuse_other_files(call.path)
    return Step(name=name, call=call)


def refuse_other_files(path: str) -> None:
    """Raise InputError for a file that no reference can name: it would be taken for a directory."""
    from step_runner.functions.reference import names_step_file

    if os.path.isfile(path) and not names_step_file(path):
        raise InputError(f"{path}: the name of a step file must end in .yml or .yaml: rename it")


def _as_path(text: str) -> str:
    """A reference that is the path of a file or directory needs no `./` in front."""
    from step_runner.functions.reference import names_step_file

    looks_like_file = names_step_file(text) and not re.search(r"@|\s|://", text)
    is_path = os.path.exists(text) or looks_like_file or (LIKE_A_PATH.fullmatch(text) and "/" not in text)
    return f"./{text}" if is_path and not (text.startswith(".") or os.path.isabs(text)) else text


def _name(text: str) -> str:
    """A name for the step, from the file, directory or repository that it calls."""
    return named_after(re.sub(r"(?<=.)@[^/@]*$|(?<=.):[^/:]*$", "", with_slashes(text).rstrip("/")))


def named_after(path: str) -> str:
    """A step's name, from the file or directory that it calls."""
    base, ending = os.path.splitext(os.path.basename(os.path.abspath(path)))
    if base in ("func", "step") and ending:
        base = os.path.basename(os.path.dirname(os.path.abspath(path)))
    name = re.sub(r"\W", "_", base, flags=re.ASCII) or "run"
    return f"_{name}" if name[0].isdigit() else name
