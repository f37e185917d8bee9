"""The benchmarks run to their end and print every measure; how long things take is not looked at."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.absent import absent
from tests.support.registry import PROGRAM as REGISTRY_PROGRAM

if TYPE_CHECKING:
    from types import ModuleType

CURL = shutil.which("curl")
ROOT = Path(__file__).parents[2]

SERVICE = {
    "empty script job, Run to finished",
    "20 script steps, Run to finished",
    "Status call",
    "process exit to finished seen by a follower",
    "first log byte, write to follower",
    "large log followed live",
    "large log replayed",
    "100 jobs started one after another",
    "Cancel call to SIGTERM in the process",
    "cooperative script's exit to Close returning",
    "server memory, idle",
    "server memory, 100 running jobs",
}

COMMANDS = {
    "gracefulexitcmd runs true",
    "... and captures its output",
    "100 AsyncCmd at once",
    "lines read from a pipe, bytes",
    "lines read from a pipe, text",
    "import above that of subprocess",
    "death noticed although a timeout is set",
    "step-runner --help",
    "step-runner run of a hello function",
    "step-runner serve until it listens",
    "step-runner serve, SIGTERM to gone",
}

REGISTRY = {
    "cached function by digest, added to a step",
    "cached function by tag, added to a step",
    "image of tar fetched",
    "image of zstd fetched",
    "image of gzip fetched",
    "memory while an image is fetched",
}

CONTAINMENT = {
    "job of 20 script steps, contained",
    "added by it to an empty script job",
    "20 script commands, contained",
    "added by it to one script command",
    "cancel of 100 processes that obey, until all are gone",
    "SIGKILL to 100 that do not, until all are gone",
}


def _run(directory: str, module: str) -> tuple[str, list[dict[str, Any]]]:
    """Run a benchmark; return its output, and the figures that it writes."""
    file = Path(directory, "figures.json")
    command = (sys.executable, "-m", module, "--short", "--json", str(file))
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("module", "measures"),
    [
        pytest.param("benchmarks.service", SERVICE, id="service"),
        pytest.param("benchmarks.commands", COMMANDS, id="commands"),
        pytest.param("benchmarks.containment", CONTAINMENT, id="containment"),
        pytest.param("benchmarks.registry", REGISTRY, id="registry"),
    ],
)
def test_short_run_takes_and_prints_every_measure(module: str, measures: set[str], temporary: str) -> None:
    if module == "benchmarks.registry" and not (REGISTRY_PROGRAM and CURL):
        absent("docker-registry or curl")
    printed, figures = _run(temporary, module)
    assert {figure["measure"] for figure in figures} == measures
    for figure in figures:
        assert figure["samples"]
        assert figure["measure"] in printed


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.measure")


@pytest.mark.parametrize(
    ("unit", "bound", "samples", "verdict"),
    [
        pytest.param("ms", (5, "ms"), [4, 5, 9], "ok", id="time within its bound"),
        pytest.param("ms", (5, "ms"), [4, 5.1, 9], "MISSED", id="time beyond its bound"),
        pytest.param("ms", (0.5, "x"), [5], "ok", id="ratio within its bound"),
        pytest.param("ms", (0.5, "x"), [6], "MISSED", id="ratio beyond its bound"),
        pytest.param("MB/s", (4, "x"), [40], "ok", id="rate above its bound"),
        pytest.param("MB/s", (4, "x"), [39], "MISSED", id="rate below its bound"),
        pytest.param("ms", None, [5], "-", id="no bound"),
        pytest.param("ms", (5, "ms"), [], "-", id="no samples"),
    ],
)
def test_verdict_compares_with_reference(
    measure: ModuleType, unit: str, bound: tuple[float, str] | None, samples: list[float], verdict: str
) -> None:
    """The reference is 10."""
    what = measure.Measure("it", unit, 10, bound and measure.Bound(*bound))
    assert measure.Figure(what, samples).verdict == verdict


def test_ratio_has_no_verdict_without_a_reference(measure: ModuleType) -> None:
    assert measure.Figure(measure.Measure("it", "ms", None, measure.Bound(0.5, "x")), [1]).verdict == "-"


@pytest.mark.parametrize(("unit", "tail"), [pytest.param("ms", 95, id="time"), pytest.param("MB/s", 6, id="rate")])
def test_tail_is_the_95th_percentile(measure: ModuleType, unit: str, tail: float) -> None:
    assert measure.Figure(measure.Measure("it", unit), range(1, 101)).tail == tail
