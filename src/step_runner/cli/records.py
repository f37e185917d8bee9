"""Writes the records of a run when it is over: the step result file and the report."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import click

from step_runner.cli.options import PATH, together
from step_runner.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from step_runner.jobs.local import LocalResult

FORMATS = {"json": "step-results.json", "prototext": "step-results.txtpb"}
"""The formats of the step result file, each with its default name."""

PAGES = (".html", ".htm")
"""The suffixes of reports that are pages for a browser."""


class Records(NamedTuple):
    """The files to write, as the options name them."""

    write_results: bool | None
    results_file: str | None
    results_format: str
    report: str | None = None

    @property
    def results(self) -> str | None:
        """Return the step result file, None for no such file."""
        from step_runner.jobs.level import is_debugging

        chosen = self.write_results
        wanted = bool(self.results_file) or is_debugging() if chosen is None else chosen
        return self.results_file or FORMATS[self.results_format] if wanted else None


PARAMETERS = (
    click.option(
        "--write-steps-results/--no-write-steps-results",
        "write_results",
        default=None,
        help="Write the step results to a file (default: only if CI_STEPS_DEBUG is true).",
    ),
    click.option(
        "--step-results-file",
        "results_file",
        metavar="FILE",
        type=PATH,
        help="Write the step results to this file (default: step-results.json or step-results.txtpb).",
    ),
    click.option(
        "--step-results-format",
        "results_format",
        type=click.Choice(list(FORMATS)),
        default="json",
        show_default=True,
        help="The format of the step results.",
    ),
)


options = together("records", Records, PARAMETERS)


def write(records: Records, result: LocalResult) -> None:
    """Write the files. Print an error on stderr for a file that cannot be written, and go on."""
    if (path := records.report) is not None:
        _write("report", path, lambda: _report(result, path))
    if records.results is not None and (steps := result.result) is not None:
        from step_runner.jobs import report

        tree = report.text(report.result_tree(steps))
        _write("step results", records.results, lambda: _formatted(tree, records.results_format))


def _report(result: LocalResult, path: str) -> str:
    """Return the report as an HTML page if the suffix of the file says so, else as JSON."""
    from step_runner.jobs import report

    content = report.text(report.run_record(result))
    if not path.lower().endswith(PAGES):
        return content
    from step_runner.jobs import page, record

    return page.page(record.parse(content.encode(errors="replace")))


def _formatted(json: str, results_format: str) -> str:
    if results_format == "json":
        return json
    from step_runner.api.prototext import result_text

    return result_text(json)


def _write(what: str, path: str, content: Callable[[], str]) -> None:
    from step_runner.jobs import report

    try:
        report.write(path, content())
    except (InputError, OSError) as error:
        reason = str(error) if isinstance(error, InputError) else (error.strerror or str(error)).lower()
        with contextlib.suppress(OSError):  # stderr has no reader any more
            click.echo(f"Error: writing the {what} to {path}: {reason}", err=True)
