"""What `run` and `ci` share: run a function in this process, show it, say what became of it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import click

from step_runner.cli import records
from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    from step_runner.cli.records import Records
    from step_runner.jobs.local import LocalResult, LocalRun


def execute(run: LocalRun, wanted: Records) -> int:
    """Run a function, show its output, write the records; returns the status to exit with.

    SIGINT, SIGTERM and SIGHUP stop it gracefully, a second one at once. Raises StepRunnerError where it cannot be
    started.
    """
    result = asyncio.run(_run(run))
    if result.status.message:
        click.echo(f"Error: {result.status.message}", err=True)
    records.write(wanted, result)
    return result.exit_status


def current_directory() -> str:
    """The directory that the command was started in. Raises StepRunnerError where it was removed."""
    try:
        return os.getcwd()
    except OSError as error:
        raise StepRunnerError("the current directory was removed; go to another one") from error


async def _run(run: LocalRun) -> LocalResult:
    from step_runner.cli.screen import screen
    from step_runner.jobs.local import run_here

    shown = screen()
    try:
        return await run_here(run, shown, shown)
    finally:
        shown.end()
