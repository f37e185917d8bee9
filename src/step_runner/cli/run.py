"""`step-runner run`: run a function on this machine."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import click

from step_runner.cli import options, records
from step_runner.cli.guard import OF_THE_WATCH, guarded
from step_runner.cli.source import GitOptions, OciOptions

if TYPE_CHECKING:
    from step_runner.cli.source import Called
    from step_runner.model import Function, Step

HIDDEN = ("CI_", "GITLAB_", "FF_", "DOCKER_ENV_", OF_THE_WATCH)
"""What the names of variables begin with that steps do not see: on a laptop they would be leftovers of a job."""

EPILOG = """\b
Examples:
  step-runner run ./examples/release
  step-runner run hello.yml --inputs name=Ada --report report.json
  step-runner run ./deploy --graceful-exit-delay 1m --timeout 10m
  step-runner run --git-url https://gitlab.com/c/s --git-rev v1"""


@click.command("run", epilog=EPILOG)
@click.argument("reference", required=False)
@options.inputs
@options.env
@options.job_variables
@click.option("--git-url", metavar="URL", help="Run a function of this git repository.")
@click.option("--git-rev", metavar="REV", help="The tag, branch or commit of it.")
@click.option("--git-dir", metavar="DIR", default="", help="The function's directory in it.")
@click.option("--oci-registry", metavar="HOST", help="Run a function of an image in this registry.")
@click.option("--oci-repository", metavar="PATH", help="The image's path in the registry.")
@click.option("--oci-tag", metavar="TAG", default="", help="The image's tag or digest (default: latest).")
@click.option("--oci-dir", metavar="DIR", default="", help="The function's directory in the image.")
@click.option("--oci-filename", metavar="NAME", help="The name of the step file in it.")
@click.option("--text-proto-step-file", metavar="FILE", help="Run the definition in this file, in protobuf text form.")
@options.graceful_exit_delay
@options.timeout
@click.option("--no-tty", is_flag=True, help="Give steps pipes also on a terminal, and draw no line about them.")
@click.option("--report", metavar="FILE", help="Write what every step did, and how it was ended, as JSON.")
@records.options
def command(
    reference: str | None,
    inputs: tuple[str, ...],
    env: tuple[str, ...],
    job: tuple[str, ...],
    git_url: str | None,
    git_rev: str | None,
    git_dir: str,
    oci_registry: str | None,
    oci_repository: str | None,
    oci_tag: str,
    oci_dir: str,
    oci_filename: str | None,
    text_proto_step_file: str | None,
    graceful_exit_delay: float,
    timeout: float | None,
    no_tty: bool,
    report: str | None,
    write_results: bool | None,
    results_file: str | None,
    results_format: str,
) -> int:
    """Run a function on this machine.

    REFERENCE is a step file, a directory, or any other reference; a text that begins with `func:` is read as an
    item of a run list. Local step files are checked before anything runs.

    Ctrl-C, SIGTERM or SIGHUP stops the running step gracefully; repeats change nothing. A second Ctrl-C, at least one
    second after that, and SIGQUIT kill it at once. Ctrl-Z stops all that runs, and takes nothing from any time. The
    exit status is 0, that of the command that failed, 128 plus the signal when it was stopped, and 1 for anything
    else.
    """
    wanted = records.chosen(write_results=write_results, results_file=results_file, results_format=results_format)
    git = GitOptions(git_url, git_rev, git_dir)
    oci = OciOptions(oci_registry, oci_repository, oci_tag, oci_dir, oci_filename)
    request = _Request(
        sources=(text_proto_step_file, reference, git, oci),
        inputs=inputs,
        env=env,
        job=job,
        graceful_exit_delay=graceful_exit_delay,
        timeout=timeout,
        tty=not no_tty,
        records=wanted._replace(report=report),
    )
    return guarded(partial(_run, request), graceful_exit_delay, suspends=True)


class _Request(NamedTuple):
    """The arguments, as they were given."""

    sources: tuple[str | None, str | None, GitOptions, OciOptions]
    inputs: tuple[str, ...]
    env: tuple[str, ...]
    job: tuple[str, ...]
    graceful_exit_delay: float
    timeout: float | None
    tty: bool
    records: records.Records


def _run(request: _Request, front_is_gone: int | None) -> int:
    from step_runner.cli.assignments import assignments, typed
    from step_runner.cli.local import current_directory, execute, front
    from step_runner.cli.source import called
    from step_runner.jobs.local import LocalRun
    from step_runner.jobs.manager import is_debugging

    work_dir = current_directory()
    what = called(*request.sources).with_values(typed(request.inputs), assignments(request.env))
    _check(what)
    run = LocalRun(
        function=_calling(what.step),
        work_dir=work_dir,
        env={name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)},
        variables=assignments(request.job),
        graceful_exit_delay=request.graceful_exit_delay,
        timeout=request.timeout,
        known=what.known,
        debug=is_debugging(os.environ),
        stop_when_gone=front(front_is_gone),
    )
    return execute(run, request.records, tty=request.tty)


def _calling(step: Step) -> Function:
    from step_runner.model import Function, Sequence, Spec

    return Function(spec=Spec(), body=Sequence(steps=(step,)))


def _check(what: Called) -> None:
    """Check what lies on this machine before anything runs; warnings are shown. Raises StepRunnerError."""
    from step_runner.cli.problems import refuse, refuse_inputs, refuse_local
    from step_runner.functions.resolve import resolve_local
    from step_runner.model import Local

    refuse(what.warnings)
    call = what.step.call
    if not isinstance(call, Local):
        return
    if call not in what.known:
        refuse_local(call)
    function = what.known.get(call) or resolve_local(call, "")
    refuse_inputs(what.step, function.spec)
