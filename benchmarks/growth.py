"""Measures how the cost of a job grows with the number of other jobs, orphans and steps."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.measure import machine
from benchmarks.service import Server, await_ready, open_job, serving

from step_runner.model import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LEFT = 5
"""The number of background processes of a job."""

MOST = 1.1
"""The maximum exponent of each case: cost ~ size ** exponent."""

BACKGROUND = "for n in $(seq {}); do sleep 3600 & done; echo left"
WAITING = "echo ready; exec sleep 3600"


class Case(NamedTuple):
    """A cost in milliseconds, measured at several sizes; a `flat` cost must be the same at each size."""

    name: str
    sizes: tuple[int, ...]
    cost: Callable[[Server, int], float]
    flat: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; always return the exit status 0."""
    options = _options(arguments)
    print(machine(), flush=True)
    for case in CASES:
        if options.case in case.name:
            _measure(case, options.server, short=options.short)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--short", action="store_true", help="leave out the largest size of each case")
    parser.add_argument("--case", default="", metavar="TEXT", help="only the cases whose names hold this text")
    parser.add_argument(
        "--server", default=f"{sys.executable} -m step_runner", metavar="COMMAND", help="what to measure"
    )
    return parser.parse_args(arguments)


def _measure(case: Case, command: str, *, short: bool) -> None:
    """Measure each size with a new server, so that no size affects another one."""
    costs = []
    for size in case.sizes[:-1] if short else case.sizes:
        with serving(command) as server:
            costs.append((size, case.cost(server, size)))
        print(f"{case.name}, {size}: {costs[-1][1]:.1f} ms", flush=True)
    print(f"{case.name}: {_verdict(case, costs)}", flush=True)


def _verdict(case: Case, costs: Sequence[tuple[int, float]]) -> str:
    if case.flat:
        ratio = costs[-1][1] / costs[0][1]
        return f"{ratio:.2f} x from {costs[0][0]} to {costs[-1][0]}"
    found = exponent(costs)
    return f"exponent {found:.2f}, at most {MOST}: {'ok' if found <= MOST else 'MISSED'}"


def exponent(costs: Sequence[tuple[int, float]]) -> float:
    """Return the slope of the least-squares line through the logarithms of sizes and costs."""
    points = [(math.log(size), math.log(cost)) for size, cost in costs]
    x_mean, y_mean = (sum(values) / len(points) for values in zip(*points, strict=True))
    return float(sum((x - x_mean) * (y - y_mean) for x, y in points) / sum((x - x_mean) ** 2 for x, _ in points))


def _cancel_with_background(server: Server, jobs: int) -> float:
    return _cancelled(server, jobs, (BACKGROUND.format(LEFT), WAITING))


def _cancel_plain(server: Server, jobs: int) -> float:
    return _cancelled(server, jobs, (WAITING,))


def _cancelled(server: Server, jobs: int, scripts: tuple[str, ...]) -> float:
    """Return the time from the first Cancel until the end of the last job."""
    with contextlib.ExitStack() as stack:
        names = [stack.enter_context(open_job(server, *scripts)) for _ in range(jobs)]
        for name in names:
            await_ready(server, name)
        start = time.perf_counter()
        for name in names:
            server.client.cancel(name)
        for name in names:
            _follow(server, name, Status.CANCELLED)
        return 1000 * (time.perf_counter() - start)


def _short_job_beside_jobs(server: Server, jobs: int) -> float:
    with contextlib.ExitStack() as stack:
        for _ in range(jobs):
            await_ready(server, stack.enter_context(open_job(server, BACKGROUND.format(LEFT), WAITING)))
        return _short_job(server)


def _short_job_beside_orphans(server: Server, orphans: int) -> float:
    with open_job(server, BACKGROUND.format(orphans), WAITING) as name:
        await_ready(server, name)
        return _short_job(server)


def _short_job(server: Server) -> float:
    return median(_milliseconds(lambda: _run(server)) for _ in range(20))


def _run(server: Server) -> None:
    with open_job(server, ":") as name:
        _follow(server, name, Status.SUCCESS)


def _start_last(server: Server, jobs: int) -> float:
    """Return the time to start a job, the median of the last ones of `jobs` running jobs."""
    with contextlib.ExitStack() as stack:
        took = [_milliseconds(lambda: stack.enter_context(open_job(server, WAITING))) for _ in range(jobs)]
        return median(took[-20:])


def _exporting_steps(server: Server, steps: int) -> float:
    """Return the time of a step when each of `steps` steps exports a variable."""
    scripts = [f'echo \'{{"name":"V{n}","value":"x"}}\' >>${{{{export_file}}}}' for n in range(steps)]
    start = time.perf_counter()
    with open_job(server, *scripts) as name:
        _follow(server, name, Status.SUCCESS)
    return 1000 * (time.perf_counter() - start) / steps


def _follow(server: Server, name: str, expected: Status) -> None:
    for _ in server.client.follow(name):
        """Wait for its end."""
    status = server.client.status(name)
    assert status.status is expected, f"the job ended as {status.status.name}: {status.message}"


def _milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


BESIDE_JOBS = f"a short job next to jobs that left {LEFT} processes each"

CASES = (
    Case(f"cancel of jobs that left {LEFT} processes each", (5, 20, 40, 100, 200), _cancel_with_background),
    Case("cancel of plain jobs", (100, 500, 1000), _cancel_plain),
    Case(
        f"a short job next to jobs that left {LEFT} processes each", (1, 20, 60, 200), _short_job_beside_jobs, flat=True
    ),
    Case("a short job next to a job with orphans", (1, 100, 1000, 4000), _short_job_beside_orphans, flat=True),
    Case("start of the last of running jobs", (100, 500, 1000), _start_last, flat=True),
    Case("a step among steps that export", (500, 1000, 2000), _exporting_steps, flat=True),
)

if __name__ == "__main__":
    raise SystemExit(main())
