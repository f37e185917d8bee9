"""`step-runner start`: start a job on a server."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
from typing import TYPE_CHECKING

import click

from step_runner import shown
from step_runner.cli import options
from step_runner.cli.source import names_function
from step_runner.errors import InputError

if TYPE_CHECKING:
    from step_runner.api.client import Client
    from step_runner.cli.source import Named


@click.command("start")
@names_function
@click.option("--id", "job_id", metavar="ID", help="The name of the job (default: a new one).")
@options.client_socket
@options.job_variables
@options.timeout
@click.option(
    "--graceful-exit-delay",
    "grace",
    type=options.DURATION,
    metavar="TIME",
    help="Time between SIGTERM and SIGKILL when the job is stopped (default: the server's own).",
)
@click.option("--follow", is_flag=True, help="Print the job's log until it ends.")
def command(
    named: Named,
    job_id: str | None,
    path: str,
    owner: int | None,
    job: dict[str, str],
    timeout: float | None,
    grace: float | None,
    follow: bool,
) -> int:
    """Start a job on a server.

    REFERENCE is a step file, a directory, or any other reference, as `run` takes it. Local step files are checked
    before anything is sent. The server fetches other functions. With --inputs they are also fetched
    here first, because they declare the types. Steps run in the current directory. The exit status is 0 when the job
    was started, else 1. With --follow it is 0 for success, the status of the command that failed, 143 after a stop, and
    1 for any other error. Ctrl-C only stops following.

    Examples:
      step-runner start ./examples/cleanup --id 1
      step-runner start deploy.yml --inputs stage=test --timeout 10m --follow
      step-runner start https://gitlab.com/c/s@v1
    """
    from step_runner.api.client import Client
    from step_runner.cli.request import text_of
    from step_runner.cli.source import called
    from step_runner.model import RunRequest, Variable

    if job_id == "":
        raise InputError("the id is empty: write a name after --id, or leave --id out")
    request = RunRequest(
        id=secrets.token_hex(4) if job_id is None else job_id,
        variables=tuple(Variable(key=key, value=value) for key, value in job.items()),
        steps=text_of(called(named)),
        work_dir=os.getcwd(),
        graceful_exit_delay=grace,
        timeout=timeout,
    )
    with Client(path, owner) as client:
        _check_free(client, request.id, path)
        client.run(request)
        click.echo(f'started job "{request.id}"', err=follow)
        if follow:
            return _follow(client, request.id, path)
    _advise(request.id, path)
    return 0


def _check_free(client: Client, job_id: str, path: str) -> None:
    if any(job.id == job_id for job in client.jobs()):
        advice = f"close it with: {_command('close', job_id, path=path)}"
        raise InputError(f'a job with id "{job_id}" exists already: {advice}')


def _follow(client: Client, job_id: str, path: str) -> int:
    """Print the log until the job ends. Return the exit status of this program."""
    from step_runner.cli.logs import write_bytes
    from step_runner.jobs.summary import exit_status
    from step_runner.model import Status

    try:
        write_bytes(client.follow(job_id))
        job = client.find(job_id)
    except KeyboardInterrupt:
        _print_still_running(job_id, path)
        return 128 + signal.SIGINT
    if not job.finished:  # stdout has no reader any more
        _print_still_running(job_id, path)
    elif job.status is not Status.SUCCESS:
        click.echo(f"Error: {shown.message(job.message)}", err=True)
    return exit_status(job)


def _print_still_running(job_id: str, path: str) -> None:
    click.echo(
        f'job "{job_id}" is still running; cancel it: {_command("cancel", job_id, "--wait", path=path)}', err=True
    )


def _advise(job_id: str, path: str) -> None:
    click.echo(f"follow it: {_command('logs', job_id, '--follow', path=path)}")
    click.echo(f"cancel it: {_command('cancel', job_id, '--wait', path=path)}")


def _command(name: str, job_id: str, *given: str, path: str) -> str:
    socket = () if path == options.default_socket() else ("--socket", path)
    return shlex.join(("step-runner", name, job_id, *given, *socket))
