"""A run as a picture: a bar for each step and a mark for each signal, in SVG that is readable without colour."""

from __future__ import annotations

import itertools
import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from step_runner.runner.notices import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from step_runner.jobs.record import Record

WIDTH, LABELS, ROW, HEAD = 1000, 300, 26, 30
"""Units of the drawing: its width, that of the labels, the height of a row, and that of the time scale."""

BARS = WIDTH - LABELS - 20
"""The width of the whole run."""

NARROWEST = 2.0
"""The width of a bar that would otherwise be invisible."""

ROOM = 220
"""The width that a note may need."""

MOST_TICKS = 8
LONGEST_LABEL = 38

PATTERNS = """\
<defs>
<pattern id="failure" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">\
<rect width="6" height="6" class="paper"/><rect width="3" height="6" class="ink"/></pattern>
<pattern id="cancelled" width="6" height="6" patternUnits="userSpaceOnUse">\
<rect width="6" height="6" class="paper"/><circle cx="3" cy="3" r="1.6" class="ink"/></pattern>
</defs>"""


class _Bar(NamedTuple):
    """A row of the picture. Its times are seconds since the start of the run; a row without times has no bar."""

    label: str
    depth: int
    note: str
    kind: str
    begin: float | None = None
    end: float | None = None


def picture(record: Record) -> str:
    """Return the SVG of a run."""
    total = max((record.end_time - record.start_time).total_seconds(), 0.001)
    steps, signals = list(_steps(record)), list(_signals(record))
    height = HEAD + ROW * (len(steps) + len(signals)) + 8
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Timeline of the steps and signals">',
        PATTERNS,
        *_scale(total, height),
        *(_row(number, bar, total) for number, bar in enumerate(steps)),
        *(_mark(number, bar, total, len(steps)) for number, bar in enumerate(signals, len(steps))),
        "</svg>",
    ]
    return "\n".join(parts)


def duration(seconds: float) -> str:
    """Return a duration for people: `0.02 s`, `4.5 s`, `2 min 5 s`, `1 h 3 min`."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(count: int) -> str:
    """Return a number of bytes for people: `0 B`, `6.0 kB`, `1.2 GB`."""
    if count < 1000:
        return f"{count} B"
    power = min((len(str(count)) - 1) // 3, 3)
    return f"{count / 1000**power:.1f} {('B', 'kB', 'MB', 'GB')[power]}"


def _steps(record: Record) -> Iterator[_Bar]:
    for depth, call, status, step in record.rows:
        name = call.name or str(call.step) or "unnamed"
        if step is None:
            yield _Bar(name, depth, status, "absent")
            continue
        begin = record.since_start(step.start_time)
        written = f", {size(step.exec_result.output_bytes)}" if step.exec_result is not None else ""
        yield _Bar(name, depth, f"{status}, {duration(step.duration)}{written}", status, begin, begin + step.duration)


def _signals(record: Record) -> Iterator[_Bar]:
    stop = record.termination
    if stop is None:
        return
    zero = record.since_start(stop.start_time) if stop.start_time is not None else 0.0
    for sent in stop.signals:
        moment = zero + sent.after
        yield _Bar(f"{sent.name} to {count(sent.processes)}", 0, f"at {duration(moment)}", "signal", moment, moment)


def _scale(total: float, height: int) -> Iterator[str]:
    """Return the lines of the time scale, at most MOST_TICKS of them, at round seconds."""
    rough = total / MOST_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    every = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    for number in itertools.takewhile(lambda number: number * every <= total, itertools.count()):
        x = _x(number * every, total)
        yield f'<line class="grid" x1="{x:.1f}" y1="{HEAD - 8}" x2="{x:.1f}" y2="{height}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{HEAD - 14}">{number * every:g} s</text>'


def _x(seconds: float, total: float) -> float:
    return LABELS + BARS * min(seconds / total, 1.0)


def _row(number: int, bar: _Bar, total: float) -> str:
    if bar.begin is None or bar.end is None:
        return _label(number, bar) + _note(number, bar, LABELS, "start")
    begin, end = _x(bar.begin, total), _x(bar.end, total)
    width = max(end - begin, NARROWEST)
    return (
        f'{_label(number, bar)}<rect class="bar {escape(bar.kind)}" x="{begin:.1f}" y="{_y(number) + 4}"'
        f' width="{width:.1f}" height="{ROW - 8}"><title>{escape(bar.label)}: {escape(bar.note)}</title></rect>'
        + _beside(number, bar, begin, begin + width)
    )


def _beside(number: int, bar: _Bar, begin: float, end: float) -> str:
    """Return the note where it has room: after the bar, before it, or in it."""
    if end + ROOM <= WIDTH:
        return _note(number, bar, end, "start")
    return _note(number, bar, begin if begin - ROOM >= LABELS else end, "end")


def _mark(number: int, bar: _Bar, total: float, steps: int) -> str:
    """Return a line through all steps, and a diamond on the signal's own row."""
    assert bar.begin is not None
    x, y = _x(bar.begin, total), _y(number) + ROW / 2
    left = x > LABELS + BARS / 2
    return (
        f'{_label(number, bar)}<line class="signal" x1="{x:.1f}" y1="{HEAD}" x2="{x:.1f}" y2="{y}"/>'
        f'<path class="mark" d="M{x:.1f} {y - 6}l6 6l-6 6l-6 -6z"><title>{escape(bar.label)}</title></path>'
        + _note(number, bar, x - 4 if left else x + 4, "end" if left else "start")
    )


def _label(number: int, bar: _Bar) -> str:
    text = bar.label if len(bar.label) <= LONGEST_LABEL else f"{bar.label[: LONGEST_LABEL - 1]}…"
    x = 4 + 14 * min(bar.depth, 8)
    return f'<text x="{x}" y="{_y(number) + 17}">{escape(text)}</text>'


def _note(number: int, bar: _Bar, x: float, anchor: str) -> str:
    """Return the text next to a bar, with a halo: it may cross another line."""
    x += 6 if anchor == "start" else -6
    return f'<text class="note" x="{x:.1f}" y="{_y(number) + 17}" text-anchor="{anchor}">{escape(bar.note)}</text>'


def _y(number: int) -> int:
    return HEAD + ROW * number
