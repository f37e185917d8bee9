"""`step-runner jobs`: list the jobs of a server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from step_runner import shown
from step_runner.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from step_runner.model import JobStatus

EPILOG = """\b
Examples:
  step-runner jobs
  step-runner jobs --format json"""

COLUMNS = ("ID", "STATUS", "STEP", "STARTED", "DURATION", "MESSAGE")

LONGEST_MESSAGE = 60
"""Characters of a message that are shown in the table."""


@click.command("jobs", epilog=EPILOG)
@options.client_socket
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(path: str, owner: int | None, form: str) -> None:
    """List the jobs of a server, running and finished, that have not been closed.

    STEP is the one that runs, or that ran when the job was stopped. The JSON holds everything that is known of
    each job; times are in seconds, those of the clock since 1970.
    """
    from step_runner.api.client import Client

    with Client(path, owner) as client:
        jobs = client.jobs()
    if form == "json":
        _print_json(jobs)
    elif not jobs:
        click.echo("no jobs")
    else:
        now = time.time()
        _print_table([_row(job, now) for job in jobs])


def _row(job: JobStatus, now: float) -> tuple[str, ...]:
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.start_time)) if job.start_time else "-"
    duration = f"{(job.end_time or now) - job.start_time:.1f} s" if job.start_time else "-"
    step = job.step or (job.termination.step if job.termination else "")
    cells = (job.id, job.status.name.lower(), step or "-", started, duration, _shortened(job.message))
    return tuple(map(shown.name, cells))


def _shortened(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= LONGEST_MESSAGE else f"{line[: LONGEST_MESSAGE - 3]}..."


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    header, *lines = (
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in (COLUMNS, *rows)
    )
    click.echo("\n".join((click.style(header, bold=True), *lines)))


def _print_json(jobs: Sequence[JobStatus]) -> None:
    import msgspec

    text = msgspec.json.format(msgspec.json.encode([_record(job) for job in jobs]), indent=2)
    click.echo(text.decode())


def _record(job: JobStatus) -> dict[str, Any]:
    import msgspec

    record: dict[str, Any] = msgspec.structs.asdict(job)
    kind = job.kind.name.lower() if job.kind is not None else None
    return {**record, "status": job.status.name.lower(), "kind": kind}
