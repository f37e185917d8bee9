"""The record of a run as one self-contained HTML page: no script, no font, no request."""

from __future__ import annotations

import json
import pkgutil
import shlex
import signal
from html import escape
from string import Template
from typing import TYPE_CHECKING

from step_runner.jobs.timeline import duration, picture, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from step_runner.jobs.record import Call, Record, Row, Step, Termination


def page(record: Record) -> str:
    """Return the HTML page of a run."""
    template = (pkgutil.get_data(__package__, "page.html") or b"").decode()
    return Template(template).substitute(
        title=escape(_title(record)),
        status=escape(record.status),
        facts=_table("facts", (), _facts(record)),
        picture=picture(record),
        stopped=_stopped(record.termination),
        steps=_table(
            "steps",
            ("Step", "Status", "Start", "Duration", "Exit", "Output", "Details"),
            (_row(record, row) for row in record.rows),
        ),
    )


def _title(record: Record) -> str:
    """Return the title of a run: the name of the only step at its root."""
    first = next(record.rows, None)
    return f"Run of {first.call.step or first.call.name}" if first is not None and first.step is not None else "Run"


def _facts(record: Record) -> Iterator[tuple[str, ...]]:
    yield "<b>Started</b>", escape(record.start_time.isoformat(" ", "seconds"))
    yield "<b>Duration</b>", duration((record.end_time - record.start_time).total_seconds())
    yield "<b>Exit status</b>", str(record.exit_status)
    if record.error_kind:
        yield "<b>Kind of error</b>", escape(record.error_kind)
    if record.message:
        yield "<b>Message</b>", f"<pre>{escape(record.message)}</pre>"


def _stopped(stop: Termination | None) -> str:
    """Return how the run was stopped, and the processes that the stop had to end."""
    if stop is None:
        return ""
    cause = f"Cause: {stop.cause}" + (f", while step {stop.step} ran" if stop.step else ", after the last step")
    hurried = f"<p>Killed at once: {escape(stop.hurried)}</p>" if stop.hurried else ""
    ended = (
        (
            str(process.pid),
            f"<code>{escape(shlex.join(process.argv) or process.program)}</code>",
            escape(process.found),
            escape(process.ended_by or "could not be ended"),
            escape(process.why),
        )
        for process in stop.census
    )
    table = (
        _table("ended", ("PID", "Command", "Found by", "Ended by", "Why"), ended)
        if stop.census
        else "<p>No process had to be ended.</p>"
    )
    return f"<section><h2>Processes that had to be ended</h2>\n<p>{escape(cause)}.</p>{hurried}\n{table}</section>\n"


def _row(record: Record, row: Row) -> tuple[str, ...]:
    step, name = row.step, _name(row.depth, row.call)
    if step is None:
        return name, row.status, "", "", "", "", ""
    done = step.exec_result
    return (
        name,
        escape(row.status),
        f"+{duration(record.since_start(step.start_time))}",
        duration(step.duration),
        "" if done is None else _exit(done.exit_code),
        "" if done is None else size(done.output_bytes),
        _details(step),
    )


def _exit(code: int) -> str:
    """Return an exit status, or the signal that ended the command. The report may come from another system."""
    named = -code in signal.Signals.__members__.values()
    return str(code) if code >= 0 else signal.Signals(-code).name if named else f"signal {-code}"


def _name(depth: int, call: Call) -> str:
    called = f"<br><code>{escape(str(call.step))}</code>" if call.name else ""
    return f'<div style="margin-left: {min(depth, 8)}em">{escape(call.name) or escape(str(call.step))}{called}</div>'


def _details(step: Step) -> str:
    command = {"command": shlex.join(step.exec_result.command)} if step.exec_result is not None else {}
    groups: tuple[tuple[str, Mapping[str, object]], ...] = (
        ("", command),
        ("input ", {name: _value(value) for name, value in step.step.inputs.items()}),
        ("env ", step.env),
        ("output ", {name: _value(value) for name, value in step.outputs.items()}),
        ("export ", step.exports),
    )
    return "".join(
        f"<pre><b>{escape(kind + name)}</b> {escape(str(value))}</pre>"
        for kind, values in groups
        for name, value in values.items()
    )


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(name: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    first = f"<tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>\n" if head else ""
    lines = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table class="{name}">\n{first}{lines}\n</table>'
