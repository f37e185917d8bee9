"""Measures the cost of ending all processes of a job, and the time until all are gone."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.jobs import Pair
from benchmarks.measure import Bound, Figure, Measure, machine, seconds, table, write_json

from benchmarks import jobs
from gracefulexitcmd import Cmd, contain
from gracefulexitcmd.container import opened

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = 20
PROCESSES = 100

MANY_STEPS = Measure(f"job of {COMMANDS} script steps, contained", "ms", None, Bound(1.1, "x"))
EMPTY_JOB = Measure("added by it to an empty script job", "ms", None, Bound(0.5, "ms"))
MANY_COMMANDS = Measure(f"{COMMANDS} script commands, contained", "ms", None, Bound(1.1, "x"))
ONE_COMMAND = Measure("added by it to one script command", "ms", None, Bound(0.5, "ms"))
OBEYED = Measure(f"cancel of {PROCESSES} processes that obey, until all are gone", "ms", None, Bound(100, "ms"))
KILLED = Measure(f"SIGKILL to {PROCESSES} that do not, until all are gone", "ms", None, Bound(50, "ms"))

OBEDIENT = f"for n in $(seq {PROCESSES - 1}); do sleep 1000 & done; echo ready; wait"
STUBBORN = f"trap '' TERM; {OBEDIENT}"

GRACE = 0.3

KEY = b"no secret"
"""The grace period, in seconds, of processes that ignore SIGTERM."""

ENV = dict(os.environ)
"""The environment of both sides: a step always has its own environment."""

_numbers = itertools.count()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; always return the exit status 0."""
    options = _options(arguments)
    print(machine(), flush=True)
    few, many = (3, 20) if options.short else (20, 300)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        figures = [
            _compared(MANY_STEPS, asyncio.run(jobs.pairs(COMMANDS, few))),
            _added(EMPTY_JOB, asyncio.run(jobs.pairs(1, many))),
            _compared(MANY_COMMANDS, _pairs(directory, COMMANDS, few)),
            _added(ONE_COMMAND, _pairs(directory, 1, many)),
            Figure(OBEYED, [_until_gone(OBEDIENT) for _ in range(few)]),
            Figure(KILLED, [_until_gone(STUBBORN) for _ in range(few)]),
        ]
    print(table(figures, "bare"))
    if options.json:
        write_json(options.json, figures)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.containment", description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer samples")
    parser.add_argument("--json", metavar="FILE", help="write the figures with all samples into a file")
    return parser.parse_args(arguments)


def _compared(measure: Measure, pairs: Sequence[Pair]) -> Figure:
    reference = Figure(measure, [pair.bare for pair in pairs]).median
    return Figure(replace(measure, reference=reference), [pair.contained for pair in pairs])


def _added(measure: Measure, pairs: Sequence[Pair]) -> Figure:
    return Figure(measure, [pair.contained - pair.bare for pair in pairs])


def _pairs(directory: str, commands: int, times: int) -> list[Pair]:
    """Sample both in turn, so that a slow phase of the machine affects both; drop the first pair as a warm-up."""
    return [Pair(_contained(directory, commands), _bare(commands)) for _ in range(times + 1)][1:]


def _contained(directory: str, commands: int) -> float:
    """Return the milliseconds for commands like those of a job: with ledger, cookies, and the scan for survivors."""

    def job() -> None:
        path = os.path.join(directory, f"ledger-{next(_numbers)}")
        with contain() as container:
            opened(container).keep_ledger(path, "job", GRACE, KEY)
            for _ in range(commands):
                Cmd(["bash", "-c", ":"], env=ENV, container=container).run()
        os.unlink(path)

    return 1000 * seconds(job)


def _bare(commands: int) -> float:
    return 1000 * seconds(lambda: [Cmd(["bash", "-c", ":"], env=ENV).run() for _ in range(commands)])


def _until_gone(script: str) -> float:
    """Return the milliseconds from the last signal until no process is left."""
    with contain(GRACE) as container:
        reader, writer = os.pipe()
        command = Cmd(["bash", "-c", script], grace=GRACE, stdout=writer, container=container)
        command.start()
        os.close(writer)
        with open(reader, "rb") as output:
            output.readline()
            command.cancel()
            ended = command.wait()
    sent = {signal.name: signal.after for signal in ended.signals}
    return 1000 * (ended.duration - sent.get("SIGKILL", sent["SIGTERM"]))


if __name__ == "__main__":
    raise SystemExit(main())
