"""Figures of the benchmarks, their bounds, and the table that shows both."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

CALIBRATION_RUNS = 50


@dataclass(frozen=True, slots=True)
class Bound:
    """The bound of a figure, in the figure's own unit, or as a multiple of the reference if `unit` is x.

    It is the minimum of a rate and the maximum of any other figure.
    """

    limit: float
    unit: str


@dataclass(frozen=True, slots=True)
class Measure:
    """A measured quantity: its unit (ms, MB or MB/s), the median of the reference if there is one, and the bound.

    `former` is the bound of its ratio to the version before.
    """

    name: str
    unit: str
    reference: float | None = None
    bound: Bound | None = None
    former: float | None = None

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return self.unit.endswith("/s")


@dataclass(frozen=True, slots=True)
class Figure:
    """The samples of a measure; empty if it could not be taken."""

    measure: Measure
    samples: Sequence[float]

    @property
    def median(self) -> float | None:
        """The median of the samples."""
        return statistics.median(self.samples) if self.samples else None

    @property
    def tail(self) -> float | None:
        """The value that 95 % of the samples do not exceed; for a rate, the value that 95 % of them reach."""
        if not self.samples:
            return None
        from_best = sorted(self.samples, reverse=self.measure.is_rate)
        return from_best[math.ceil(0.95 * len(from_best)) - 1]

    @property
    def ratio(self) -> float | None:
        """The median as a multiple of the reference's."""
        if self.median is None or not self.measure.reference:
            return None
        return self.median / self.measure.reference

    @property
    def verdict(self) -> str:
        """Whether the median keeps to the bound: ok or MISSED, or a dash if one of them is missing."""
        bound = self.measure.bound
        value = self.ratio if bound is not None and bound.unit == "x" else self.median
        if bound is None or value is None:
            return "-"
        return "ok" if (value >= bound.limit if self.measure.is_rate else value <= bound.limit) else "MISSED"


def compared(measure: Measure, samples: Sequence[float], references: Sequence[float]) -> Figure:
    """Return a figure whose reference is the median of other samples of the same measure."""
    return Figure(replace(measure, reference=Figure(measure, references).median), samples)


def compared_with_former(measure: Measure, samples: Sequence[float], former: Sequence[float]) -> Figure:
    """Return a figure whose reference is the version before, with the bound for that."""
    bound = None if measure.former is None else Bound(measure.former, "x")
    return compared(replace(measure, bound=bound), samples, former)


def seconds(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def machine() -> str:
    """Describe the machine in one line, with the times of two fixed pieces of work that show its present speed."""
    shell = shutil.which("bash") or "sh"
    return (
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()};"
        f" {os.path.basename(shell)} -c : takes {_pace(lambda: subprocess.run([shell, '-c', ':'])):.2f} ms,"
        f" a temporary file {_pace(_make_file):.2f} ms"
    )


def _pace(work: Callable[[], object]) -> float:
    return 1000 * statistics.median(seconds(work) for _ in range(CALIBRATION_RUNS))


def _make_file() -> None:
    with tempfile.NamedTemporaryFile():
        pass


def table(figures: Iterable[Figure], reference: str) -> str:
    """Return a table of the figures, those that miss their bound first; `reference` is the title of a column."""
    figures = sorted(figures, key=lambda figure: figure.verdict != "MISSED")
    lines = [("measure", "median", "95 %", reference, "ratio", "bound", ""), *map(_line, figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = ["  ".join((line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:]))).rstrip() for line in lines]
    missed = [figure.measure.name for figure in figures if figure.verdict == "MISSED"]
    return "\n".join([*rows, "", f"MISSED: {'; '.join(missed)}" if missed else "every bound is kept"])


def write_json(path: str, figures: Iterable[Figure]) -> None:
    """Write the figures with all their samples to a file."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump([_record(figure) for figure in figures], file, indent=2)


def _line(figure: Figure) -> tuple[str, ...]:
    measure, bound = figure.measure, figure.measure.bound
    least = "at least" if measure.is_rate else "at most"
    return (
        measure.name,
        _value(figure.median, measure.unit),
        _value(figure.tail, measure.unit),
        _value(measure.reference, measure.unit),
        _value(figure.ratio, "x"),
        "-" if bound is None else f"{least} {bound.limit:g} {bound.unit}",
        figure.verdict,
    )


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:.2f} {unit}" if value < 10 else f"{value:.1f} {unit}"


def _record(figure: Figure) -> dict[str, Any]:
    measure, bound = figure.measure, figure.measure.bound
    return {
        "measure": measure.name,
        "unit": measure.unit,
        "median": figure.median,
        "tail": figure.tail,
        "reference": measure.reference,
        "ratio": figure.ratio,
        "bound": None if bound is None else {"limit": bound.limit, "unit": bound.unit},
        "verdict": figure.verdict,
        "samples": list(figure.samples),
    }
