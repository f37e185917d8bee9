"""`step-runner close`: stop a job and remove everything of it."""

from __future__ import annotations

import click

from step_runner.cli import completers, options


@click.command("close")
@click.argument("job_id", metavar="ID", shell_complete=completers.job_ids)
@options.client_socket
def command(job_id: str, path: str, owner: int | None) -> None:
    """Stop a job gracefully if it runs, wait for its end, and remove its log and its files.

    Examples:
      step-runner close 1
      step-runner close 1 --socket /run/steps.sock
    """
    from step_runner.api.client import Client

    with Client(path, owner) as client:
        client.find(job_id)
        client.close(job_id)
    click.echo(f'closed job "{job_id}"')
