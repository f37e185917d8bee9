"""`step-runner report`: make an HTML page from a report of `run --report`."""

from __future__ import annotations

import click

from step_runner.cli import options
from step_runner.errors import InputError, StepRunnerError


@click.command("report")
@click.argument("file", metavar="FILE.json", type=options.PATH)
@click.option(
    "--output",
    "page",
    metavar="FILE",
    type=options.PATH,
    help="Write the page to this file (default: FILE.html).",
)
def command(file: str, page: str | None) -> None:
    """Make an HTML page from a report that `run --report FILE.json` has written.

    The page is complete: it loads no other file and runs no script.

    Examples:
      step-runner run ./deploy --report deploy.json; step-runner report deploy.json
      step-runner report deploy.json --output /tmp/deploy.html
    """
    from step_runner.jobs import page as pages
    from step_runner.jobs import record, report

    path = page or f"{file.removesuffix('.json')}.html"
    try:
        with open(file, "rb") as source:
            content = source.read()
        text = pages.page(record.parse(content))
        report.write(path, text)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    except OSError as error:
        raise StepRunnerError(f"{error.filename or path}: {(error.strerror or str(error)).lower()}") from error
    click.echo(path)
