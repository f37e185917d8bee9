"""`step-runner logs`: print the log of a job."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from step_runner.cli import completers, options

if TYPE_CHECKING:
    from collections.abc import Iterable

STDOUT = 1


@click.command("logs")
@click.argument("job_id", metavar="ID", shell_complete=completers.job_ids)
@click.option("-f", "--follow", is_flag=True, help="Follow the log until the job ends.")
@click.option("--offset", type=click.IntRange(min=0), default=0, metavar="BYTES", help="Skip this number of bytes.")
@options.client_socket
def command(job_id: str, follow: bool, offset: int, path: str, owner: int | None) -> None:
    """Print the log of a job, byte for byte: the output so far or, with --follow, all of it until the job ends.

    Examples:
      step-runner logs 1
      step-runner logs 1 --follow
      step-runner logs 1 --offset 4096 > rest.log
    """
    from step_runner.api.client import Client

    with Client(path, owner) as client:
        client.find(job_id)
        write_bytes(client.follow(job_id, offset, wait=follow))


def write_bytes(chunks: Iterable[bytes]) -> None:
    """Write each chunk to stdout as it comes, until the last one or until stdout has no reader any more."""
    try:
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(STDOUT, rest) :]
    except BrokenPipeError:
        return
