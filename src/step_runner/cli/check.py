"""`step-runner check`: find what is wrong in step files without running anything."""

from __future__ import annotations

import glob
import json
import sys
from typing import TYPE_CHECKING

import click

from step_runner.cli import options

if TYPE_CHECKING:
    from step_runner.model import Problem


@click.command("check")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=options.PATH)
@options.output_format("Lines for people and editors, or a list of objects.")
def command(files: tuple[str, ...], form: str) -> int:
    """Find mistakes in step files and in the local functions that they call.

    FILE is a step file or the directory of a function. Nothing is run or fetched, but a package that offers a function
    is imported. Each problem is a line FILE:LINE:COLUMN: MESSAGE. The exit status is 1 if there is any error; warnings
    alone leave it 0.

    Examples:
      step-runner check ./examples/release
      step-runner check */func.yml
      step-runner check --format json deploy.yml
    """
    from step_runner.cli.local import current_directory
    from step_runner.cli.problems import count
    from step_runner.functions.check import check

    current_directory()
    if sys.platform == "win32":  # no shell expands patterns there
        files = tuple(path for file in files for path in sorted(glob.glob(file)) or [file])
    problems = check(files)
    if form == "json":
        click.echo(json.dumps([_object(problem) for problem in problems], indent=2, ensure_ascii=False))
    else:
        click.echo("".join(f"{problem}\n" for problem in problems), nl=False)
    if problems or sys.stderr.isatty():
        click.echo(count(problems) or "no problems found", err=True)
    return int(any(not problem.warning for problem in problems))


def _object(problem: Problem) -> dict[str, object]:
    from msgspec.structs import asdict

    severity = "warning" if problem.warning else "error"
    return {**asdict(problem.place), "severity": severity, "message": problem.message}
