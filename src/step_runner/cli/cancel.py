"""`step-runner cancel`: ask a job to stop gracefully."""

from __future__ import annotations

import shlex
import sys
import time
from typing import TYPE_CHECKING

import click

from step_runner.cli import options

if TYPE_CHECKING:
    from step_runner.api.console import Console
    from step_runner.model import JobStatus

EPILOG = """\b
Examples:
  step-runner cancel 1
  step-runner cancel 1 --wait"""

REDRAW = 0.1
"""Seconds between two drawings of the line."""

ERASE_LINE = "\r\x1b[K"


@click.command("cancel", epilog=EPILOG)
@click.argument("job_id", metavar="ID")
@click.option("--wait", is_flag=True, help="Wait for the job's end and tell how it ended; Ctrl-C only stops waiting.")
@options.client_socket
def command(job_id: str, wait: bool, path: str) -> None:
    """Ask a job to stop: its step gets SIGTERM and time to clean up, and SIGKILL when that is over.

    The job stays known, with its log, until it is closed.
    """
    from step_runner.api.console import Console

    with Console(path) as client:
        if client.find(job_id).finished:
            click.echo(f'job "{job_id}" has ended before, there is nothing to stop')
            return
        client.cancel(job_id)
        if wait:
            _print_ending(_ended(client, job_id))
        else:
            click.echo(f'asked job "{job_id}" to stop; see it end: step-runner logs {shlex.quote(job_id)} --follow')


def _ended(client: Console, job_id: str) -> JobStatus:
    """The job at its end; until then a line on the terminal, or one sentence elsewhere, says what it waits for."""
    asked = f'asked job "{job_id}" to stop'
    if not sys.stdout.isatty():
        click.echo(asked)
    since = time.monotonic()
    try:
        for _ in client.until_end(job_id, REDRAW):
            if sys.stdout.isatty():
                click.echo(f"{ERASE_LINE}{asked}, {time.monotonic() - since:.1f} s ago", nl=False)
    finally:
        if sys.stdout.isatty():
            click.echo(ERASE_LINE, nl=False)
    return client.find(job_id)


def _print_ending(job: JobStatus) -> None:
    from step_runner.cli.ending import ending

    for line in ending(job):
        click.echo(line)
