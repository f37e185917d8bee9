"""`step-runner run`: run a function on this machine."""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING

import click

from step_runner.cli import options
from step_runner.errors import FunctionFileError, StepRunnerError

if TYPE_CHECKING:
    from step_runner.jobs.local import LocalResult, LocalRun
    from step_runner.model import Function

HIDDEN = ("CI_", "GITLAB_", "FF_", "DOCKER_ENV_")
"""What the names of variables begin with that steps do not see: on a laptop they would be leftovers of a job."""

EPILOG = """\b
Examples:
  step-runner run ./examples/release
  step-runner run hello.yml --report report.json
  step-runner run ./deploy --graceful-exit-delay 1m --timeout 10m"""


@click.command("run", epilog=EPILOG)
@click.argument("reference")
@options.graceful_exit_delay
@click.option("--timeout", type=options.Duration(), metavar="TIME", help="Stop the function after this time.")
@click.option("--report", metavar="FILE", help="Write what every step did, and how it was ended, as JSON.")
def command(reference: str, graceful_exit_delay: float, timeout: float | None, report: str | None) -> int:
    """Run a function on this machine; REFERENCE is a step file, a directory, or any reference.

    Ctrl-C or SIGTERM stops the running step gracefully, a second one kills it at once. The exit status is 0, that
    of the command that failed, 128 plus the signal when it was stopped, and 1 for anything else.
    """
    from step_runner.jobs.local import LocalRun

    run = LocalRun(
        function=_calling(reference),
        work_dir=os.getcwd(),
        env={name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)},
        variables={},
        graceful_exit_delay=graceful_exit_delay,
        timeout=timeout,
    )
    result = asyncio.run(_run(run))
    if report is not None:
        _write_report(report, result)
    if result.status.message:
        click.echo(f"Error: {result.status.message}", err=True)
    return result.exit_status


async def _run(run: LocalRun) -> LocalResult:
    from step_runner.cli.screen import screen
    from step_runner.jobs.local import run_here

    shown = screen()
    return await run_here(run, shown, shown)


def _calling(text: str) -> Function:
    """A function of one step that calls what the text names.

    Local step files and all that they call are checked before anything runs: warnings are shown, anything worse
    raises FunctionFileError with all problems.
    """
    from step_runner.functions.check import check
    from step_runner.functions.reference import parse_reference
    from step_runner.model import Function, Local, Sequence, Spec, Step

    reference = parse_reference(_as_path(text))
    if isinstance(reference, Local):
        problems = check([os.path.join(reference.path, reference.file or "")])
        if any(not problem.warning for problem in problems):
            raise FunctionFileError(problems)
        for problem in problems:
            click.echo(str(problem), err=True)
    step = Step(name=_name(text), call=reference)
    return Function(spec=Spec(), body=Sequence(steps=(step,)), directory=os.getcwd())


def _as_path(text: str) -> str:
    """A reference that is the path of a file or directory needs no `./` in front."""
    is_path = os.path.exists(text) or text.endswith((".yml", ".yaml"))
    return f"./{text}" if is_path and not text.startswith(("/", ".")) and "@" not in text else text


def _name(text: str) -> str:
    """A name for the step, from the file or directory that it calls."""
    path = os.path.abspath(text)
    base, ending = os.path.splitext(os.path.basename(path))
    if base in ("func", "step") and ending:
        base = os.path.basename(os.path.dirname(path))
    return re.sub(r"\W", "_", base, flags=re.ASCII) or "run"


def _write_report(path: str, result: LocalResult) -> None:
    from step_runner.jobs import report

    try:
        report.write(path, report.run_record(result))
    except OSError as error:
        raise StepRunnerError(f"writing the report {path}: {error.strerror}") from error
