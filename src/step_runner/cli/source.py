"""The argument and the options that name a function on a command line, and the call that they mean."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import click

from step_runner.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from step_runner.functions.call import Called
    from step_runner.model import Reference, Spec

NO_STEP = "no step specified: name a step file, a directory or another reference, or use --git-url or --oci-registry"


class Named(NamedTuple):
    """The ways to name a function on a command line, of which the first one given counts, and the values for it."""

    text_proto: str | None = None
    reference: str | None = None
    git_url: str | None = None
    git_rev: str | None = None
    git_dir: str = ""
    oci_registry: str | None = None
    oci_repository: str | None = None
    oci_tag: str = ""
    oci_dir: str = ""
    oci_filename: str | None = None
    inputs: Mapping[str, str] = {}
    env: Mapping[str, str] = {}


PARAMETERS = (
    click.argument("reference", required=False, type=options.PATH),
    click.option("--git-url", metavar="URL", help="Run a function of this git repository."),
    click.option("--git-rev", metavar="REV", help="The tag, branch or commit of it."),
    click.option("--git-dir", metavar="DIR", default="", help="The function's directory in it."),
    click.option("--oci-registry", metavar="HOST", help="Run a function of an image in this registry."),
    click.option("--oci-repository", metavar="PATH", help="The image's path in the registry."),
    click.option("--oci-tag", metavar="TAG", default="", help="The image's tag or digest (default: latest)."),
    click.option("--oci-dir", metavar="DIR", default="", help="The function's directory in the image."),
    click.option("--oci-filename", metavar="NAME", help="The name of the step file in it."),
    options.inputs,
    options.env,
)


names_function = options.together("named", Named, PARAMETERS)


def called(named: Named) -> Called:
    """Return the call of the first source that is given: a file in text form, a reference, git, a registry.

    Raise StepRunnerError if it cannot be used, click.UsageError if none or only half of one is given.
    """
    from step_runner.functions.call import Called, call_of, note_on, step_calling

    if named.text_proto is not None:
        call = _from_text_proto(named.text_proto)
    elif named.reference is None:
        call = Called(step_calling(*_by_options(named)))
    else:
        if note := note_on(named.reference):
            click.echo(note, err=True)
        call = call_of(named.reference)
    return call.with_values(named.inputs, named.env)


def check_local(what: Called) -> Spec | None:
    """Check a function on this machine before it runs, and show warnings.

    Return its specification, None for a function from elsewhere. Raise StepRunnerError if there is an error in it.
    """
    from step_runner.cli.problems import refuse, refuse_inputs
    from step_runner.functions.check import check_function
    from step_runner.functions.resolution import resolve_local
    from step_runner.model import Local

    refuse(what.warnings)
    call = what.step.call
    if not isinstance(call, Local):
        return None
    if call not in what.known:
        refuse(check_function(call))
    spec = (what.known.get(call) or resolve_local(call, "")).spec
    refuse_inputs(what.step, spec)
    return spec


def _from_text_proto(path: str) -> Called:
    from step_runner.api.prototext import read_function
    from step_runner.functions.call import Called, step_calling
    from step_runner.functions.source import read_text
    from step_runner.model import Local

    function = read_function(read_text(path, path), file=path, directory=os.path.dirname(os.path.abspath(path)))
    reference = Local(path=function.directory, file=os.path.basename(path))
    return Called(step_calling(reference, path), {reference: function})


def _by_options(named: Named) -> tuple[Reference, str]:
    """Return the reference that the options name, and the text from which the step gets its name."""
    from step_runner.functions.reference import git_reference, oci_reference

    if named.git_url:
        if not named.git_rev:
            raise click.UsageError("--git-url needs --git-rev: a tag, a branch or a commit")
        return git_reference(named.git_url, named.git_rev, named.git_dir), named.git_dir or named.git_url
    if not named.oci_registry:
        raise click.UsageError(NO_STEP)
    if not named.oci_repository:
        raise click.UsageError("--oci-registry needs --oci-repository: the image's path in the registry")
    image = (named.oci_registry, named.oci_repository, named.oci_tag)
    return oci_reference(*image, named.oci_dir, named.oci_filename), named.oci_dir or named.oci_repository
