"""`step-runner jobs`: list the jobs of a server."""

from __future__ import annotations

import re
import shutil
import time
from typing import TYPE_CHECKING, Any

import click

from step_runner import shown
from step_runner.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from step_runner.model import JobStatus

COLUMNS = ("ID", "STATUS", "STEP", "STARTED", "DURATION", "MESSAGE")

LEAST_MESSAGE = 20
"""Characters of a message that are shown even if the output is narrower."""

FAILED_STEPS = re.compile(r'(?:step "((?:[^"\\]|\\.)*)": )+')
"""The form in which the message of a job names the steps that led to its error; the group is the innermost."""


@click.command("jobs")
@options.client_socket
@options.output_format("A table, or all fields.")
def command(path: str, owner: int | None, form: str) -> None:
    """List the jobs of a server, running and finished, that have not been closed.

    STEP is the running step, the failed one, or the one that a stop ended. The table is as wide as the terminal
    or COLUMNS; in a pipe or a file messages are complete. The JSON holds all fields of each job; times are in seconds
    since 1970.

    Examples:
      step-runner jobs
      step-runner jobs --format json
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
    message = " ".join(job.message.split())
    return tuple(map(shown.name, (job.id, job.status.name.lower(), _step(job) or "-", started, duration, message)))


def _step(job: JobStatus) -> str:
    """Return the step that runs, that was stopped, or that failed; only the message names a step that failed."""
    if job.step or job.termination is not None:
        return job.step or (job.termination.step if job.termination is not None else "")
    failed = FAILED_STEPS.match(job.message)
    return failed[1] if failed is not None else ""


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    columns = shutil.get_terminal_size((0, 0)).columns  # that of the terminal, or COLUMNS
    room = columns - sum(width + 2 for width in widths[:-1]) if columns else max(widths)
    cut = [(*row[:-1], shown.shortened(row[-1], max(room, LEAST_MESSAGE))) for row in rows]
    for row in (COLUMNS, *cut):
        line = "  ".join(text.ljust(width) for text, width in zip(row, (*widths[:-1], 0), strict=True)).rstrip()
        click.echo(click.style(line, bold=True) if row is COLUMNS else line)


def _print_json(jobs: Sequence[JobStatus]) -> None:
    import msgspec

    # gracefulexitcmd has records that msgspec does not know.
    text = msgspec.json.format(msgspec.json.encode([_record(job) for job in jobs], enc_hook=vars), indent=2)
    click.echo(text.decode())


def _record(job: JobStatus) -> dict[str, Any]:
    import msgspec

    record: dict[str, Any] = msgspec.structs.asdict(job)
    kind = job.kind.name.lower() if job.kind is not None else None
    return {**record, "status": job.status.name.lower(), "kind": kind}
