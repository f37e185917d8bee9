"""`step-runner start`: start a job on a server."""

from __future__ import annotations

import json
import os
import secrets
import shlex
from typing import TYPE_CHECKING

import click

from step_runner.cli import options
from step_runner.errors import InputError, StepRunnerError

if TYPE_CHECKING:
    from step_runner.api.console import Console

EPILOG = """\b
Examples:
  step-runner start ./examples/cleanup --id 1
  step-runner start deploy.yml --env STAGE=test --timeout 10m --follow"""


@click.command("start", epilog=EPILOG)
@click.argument("file")
@click.option("--id", "job_id", metavar="ID", help="What to call the job (default: a new name).")
@options.client_socket
@click.option("--env", multiple=True, metavar="KEY=VALUE", help="A variable of the steps' environment; repeatable.")
@click.option("--var", multiple=True, metavar="KEY=VALUE", help="A job variable, for ${{ vars.KEY }}; repeatable.")
@click.option("--timeout", type=options.Duration(), metavar="TIME", help="Stop the job after this time.")
@click.option(
    "--graceful-exit-delay",
    "grace",
    type=options.Duration(),
    metavar="TIME",
    help="Time between SIGTERM and SIGKILL when the job is stopped (default: the server's own).",
)
@click.option(
    "--follow", is_flag=True, help="Print the job's log until it ends; the status is 1 if it does not succeed."
)
def command(
    file: str,
    job_id: str | None,
    path: str,
    env: tuple[str, ...],
    var: tuple[str, ...],
    timeout: float | None,
    grace: float | None,
    follow: bool,
) -> None:
    """Start a job on a server; FILE is a step file or the directory of a function.

    The file is checked before anything is sent. Steps run in the current directory.
    """
    from step_runner.api.console import Console
    from step_runner.cli.assignments import assignments
    from step_runner.model import RunRequest, Variable

    if job_id == "":
        raise InputError("the id is empty: name the job behind --id, or leave that out for a new name")
    request = RunRequest(
        id=secrets.token_hex(4) if job_id is None else job_id,
        env=assignments(env),
        variables=tuple(Variable(key=key, value=value) for key, value in assignments(var).items()),
        steps=_steps(file),
        work_dir=os.getcwd(),
        graceful_exit_delay=grace,
        timeout=timeout,
    )
    with Console(path) as client:
        _check_free(client, request.id)
        client.run(request)
        click.echo(f'started job "{request.id}"', err=follow)
        if follow:
            _follow(client, request.id)
        else:
            _advise(request.id, path)


def _steps(file: str) -> str:
    """The text that has a server call a function on this machine. Raises StepRunnerError where it cannot be used."""
    from step_runner.cli.local import current_directory
    from step_runner.cli.source import named_after

    path = os.path.join(current_directory(), file)
    if "${{" in path:
        raise InputError(f"{file}: an expression cannot stand in the path of a file: give another name")
    _check(file)
    # JSON is YAML, so a path with any character in it stays one string.
    call = {"name": named_after(path), "func": path}
    return "{}\n---\n" + json.dumps({"run": [call]}, ensure_ascii=False)


def _check(file: str) -> None:
    """Show what is wrong in a file and in what it calls. Raises StepRunnerError unless there are only warnings."""
    from step_runner.cli.problems import refuse
    from step_runner.cli.source import refuse_other_files
    from step_runner.functions.check import check
    from step_runner.functions.load import load_file
    from step_runner.runner.binding import assign

    refuse_other_files(file)
    refuse(check([file]))
    try:
        assign({}, load_file(file)[0].spec)
    except InputError as error:
        raise InputError(f"{error}: start gives none, so call the function from a step file that does") from None


def _check_free(client: Console, job_id: str) -> None:
    if any(job.id == job_id for job in client.jobs()):
        advice = f"close it with: step-runner close {shlex.quote(job_id)}"
        raise InputError(f'there is a job with id "{job_id}" already: {advice}')


def _follow(client: Console, job_id: str) -> None:
    from step_runner.cli.logs import write_bytes
    from step_runner.model import Status

    write_bytes(client.follow(job_id))
    job = client.find(job_id)
    if job.finished and job.status is not Status.SUCCESS:
        raise StepRunnerError(job.message)


def _advise(job_id: str, path: str) -> None:
    socket = "" if path == options.default_socket() else f" --socket {shlex.quote(path)}"
    click.echo(f"follow it: step-runner logs {shlex.quote(job_id)} --follow{socket}")
    click.echo(f"cancel it: step-runner cancel {shlex.quote(job_id)} --wait{socket}")
