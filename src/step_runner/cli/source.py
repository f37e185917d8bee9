"""The function that a command line names: from its arguments to the one step that calls it."""

from __future__ import annotations

import functools
import os
import re
import textwrap
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec

from step_runner.errors import FunctionFileError, InputError
from step_runner.paths import with_slashes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from step_runner.model import Function, Local, Problem, Reference, Spec, Step, Typed

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


class Named(NamedTuple):
    """All that can name a function on a command line; the first that is given counts."""

    text_proto: str | None = None
    reference: str | None = None
    git: GitOptions = GitOptions()
    oci: OciOptions = OciOptions()


PARAMETERS = (
    click.argument("reference", required=False),
    click.option("--git-url", metavar="URL", help="Run a function of this git repository."),
    click.option("--git-rev", metavar="REV", help="The tag, branch or commit of it."),
    click.option("--git-dir", metavar="DIR", default="", help="The function's directory in it."),
    click.option("--oci-registry", metavar="HOST", help="Run a function of an image in this registry."),
    click.option("--oci-repository", metavar="PATH", help="The image's path in the registry."),
    click.option("--oci-tag", metavar="TAG", default="", help="The image's tag or digest (default: latest)."),
    click.option("--oci-dir", metavar="DIR", default="", help="The function's directory in the image."),
    click.option("--oci-filename", metavar="NAME", help="The name of the step file in it."),
)


def names_function(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the argument and the options that name a function, together as `named`."""

    @functools.wraps(command)
    def with_named(
        reference: str | None,
        git_url: str | None,
        git_rev: str | None,
        git_dir: str,
        oci_registry: str | None,
        oci_repository: str | None,
        oci_tag: str,
        oci_dir: str,
        oci_filename: str | None,
        **others: Any,
    ) -> int:
        git = GitOptions(git_url, git_rev, git_dir)
        oci = OciOptions(oci_registry, oci_repository, oci_tag, oci_dir, oci_filename)
        return command(named=Named(reference=reference, git=git, oci=oci), **others)

    for add in reversed(PARAMETERS):
        with_named = add(with_named)
    return with_named


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


def called(named: Named) -> Called:
    """The step for the first source that is given: a file in text form, a reference, git, a registry.

    Raises StepRunnerError where it cannot be used, click.UsageError where none or only half of one is given.
    """
    from step_runner.functions.reference import parse_reference
    from step_runner.model import Local

    text_proto, reference, git, oci = named
    if text_proto is not None:
        return _from_text_proto(text_proto)
    if reference is None:
        return Called(_from_git(git) if git.url else _from_oci(oci))
    if reference.lstrip().startswith(WRITTEN_AS_YAML):
        return _from_yaml(reference)
    _tell_what_it_is_taken_for(reference)
    call = parse_reference(_as_path(reference))
    return Called(_step(_name_of_path(call) if isinstance(call, Local) else _name(reference), call))


def check_local(what: Called) -> Spec | None:
    """Check what lies on this machine before anything runs; warnings are shown.

    Return what the function takes, None where it lies elsewhere. Raises StepRunnerError.
    """
    from step_runner.cli.problems import refuse, refuse_inputs, refuse_local
    from step_runner.functions.resolve import resolve_local
    from step_runner.model import Local

    refuse(what.warnings)
    call = what.step.call
    if not isinstance(call, Local):
        return None
    if call not in what.known:
        refuse_local(call)
    spec = (what.known.get(call) or resolve_local(call, "")).spec
    refuse_inputs(what.step, spec)
    return spec


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
    name = step.name or (_name_of_path(step.call) if isinstance(step.call, Local) else "run")
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
        _refuse_other_files(call.path)
    return Step(name=name, call=call)


def _refuse_other_files(path: str) -> None:
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
    return _named_after(re.sub(r"(?<=.)@[^/@]*$|(?<=.):[^/:]*$", "", with_slashes(text).rstrip("/")))


def _name_of_path(call: Local) -> str:
    return _named_after(os.path.join(call.path, call.file or ""))


def _named_after(path: str) -> str:
    """A step's name, from the file or directory that it calls."""
    base, ending = os.path.splitext(os.path.basename(os.path.abspath(path)))
    if base in ("func", "step") and ending:
        base = os.path.basename(os.path.dirname(os.path.abspath(path)))
    name = re.sub(r"\W", "_", base, flags=re.ASCII) or "run"
    return f"_{name}" if name[0].isdigit() else name
