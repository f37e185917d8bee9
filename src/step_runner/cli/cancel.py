"""`step-runner cancel`: ask a job to stop gracefully."""

from __future__ import annotations

import shlex
import sys
import time
from typing import TYPE_CHECKING

import click

from step_runner import shown
from step_runner.cli import completers, options

if TYPE_CHECKING:
    from step_runner.api.client import Client
    from step_runner.model import JobStatus

REDRAW = 0.1
"""Seconds between two drawings of the line."""

ERASE_LINE = "\r\x1b[K"


@click.command("cancel")
@click.argument("job_id", metavar="ID", shell_complete=completers.job_ids)
@click.option("--wait", is_flag=True, help="Wait for the job's end and report it; Ctrl-C only stops waiting.")
@options.client_socket
def command(job_id: str, wait: bool, path: str, owner: int | None) -> None:
    """Ask a job to stop: its step gets SIGTERM and time to clean up, then SIGKILL.

    The job stays known, with its log, until it is closed.

    Examples:
      step-runner cancel 1
      step-runner cancel 1 --wait
    """
    from step_runner.api.client import Client
    from step_runner.jobs.summary import summary

    with Client(path, owner) as client:
        if client.find(job_id).finished:
            click.echo(f'job "{job_id}" has already ended')
            return
        client.cancel(job_id)
        if wait:
            _show_stopping(client, job_id)
            for line in summary(client.find(job_id)):
                click.echo(line)
        else:
            click.echo(f'asked job "{job_id}" to stop; follow it: step-runner logs {shlex.quote(job_id)} --follow')


def _show_stopping(client: Client, job_id: str) -> None:
    """Show the time that is left until the job's end: in a line on a terminal, in one sentence elsewhere."""
    if not sys.stdout.isatty():
        click.echo(_stopping(client.find(job_id)))
    try:
        for _ in client.until_end(job_id, REDRAW):
            if sys.stdout.isatty():
                click.echo(f"{ERASE_LINE}{_stopping(client.find(job_id))}", nl=False)
    finally:
        if sys.stdout.isatty():
            click.echo(ERASE_LINE, nl=False)


def _stopping(job: JobStatus) -> str:
    """Return a sentence that says that the job was asked to stop, and how long its processes still have."""
    asked = f'asked job "{job.id}" to stop'
    if job.kill_time is None:
        return asked
    subject = f'step "{shown.name(job.step)}" has' if job.step else "background processes of its steps have"
    return f"{asked}: {subject} {max(0.0, job.kill_time - time.time()):.1f} s to finish"
