"""Measures the start and end of one command, with gracefulexitcmd and with other programs."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.measure import (
    Bound,
    Figure,
    Measure,
    compared_with_former,
    machine,
    seconds,
    table,
    write_json,
)

from gracefulexitcmd import PIPE, AsyncCmd, Cmd, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

RUN_TRUE = Measure("gracefulexitcmd runs true", "ms", None, Bound(1.2, "x"))
RUN_CAPTURED = Measure("... and captures its output", "ms", None, Bound(1.2, "x"))
HUNDRED = Measure("100 AsyncCmd at once", "ms", None, Bound(1.2, "x"))
READ_BYTES = Measure("lines read from a pipe, bytes", "MB/s", None, Bound(0.9, "x"))
READ_TEXT = Measure("lines read from a pipe, text", "MB/s", None, Bound(0.9, "x"))
IMPORT = Measure("import above that of subprocess", "ms", None, Bound(8, "ms"))
DEATH_NOTICED = Measure("death noticed although a timeout is set", "ms", None, Bound(1, "ms"))
# The references are the medians of GitLab's step-runner (Go, without graceful exit) on a machine with 2 cores.
HELP = Measure("step-runner --help", "ms", 17.3, Bound(2, "x"), 0.7)
RUN_HELLO = Measure("step-runner run of a hello function", "ms", 16.4, Bound(6.5, "x"), 0.43)
SERVE_READY = Measure("step-runner serve until it listens", "ms", 12.6, Bound(8, "x"), 0.6)
SERVE_GONE = Measure("step-runner serve, SIGTERM to gone", "ms", 5.9, Bound(3.5, "x"), 0.35)

TIMEOUT = 60.0
"""A grace period in seconds that no command here uses."""

SETTLES = 0.3
"""Seconds in which a server imports what jobs need after it listens."""

SAY_THE_TIME = ("bash", "-c", 'printf %s "$EPOCHREALTIME"')

HELLO = """\
{}
---
exec:
  command: [echo, hello]
"""


class Take(NamedTuple):
    """Functions that each return one sample, in the unit of the measure: ours, and the one that it is compared with."""

    measure: Measure
    ours: Callable[[], float]
    reference: Callable[[], float]
    times: int


class Start(NamedTuple):
    """A function that runs a program and returns one sample of the measure."""

    measure: Measure
    sample: Callable[[Sequence[str]], float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; always return the exit status 0."""
    options = _options(arguments)
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        judged = [_judged(take) for take in _takes(directory, options.short)]
        programs = [shlex.split(program) for program in (options.program, options.former) if program]
        starts = [(start.measure, _in_turns(start, programs, options.short)) for start in _starts(directory)]
    started = [Figure(measure, ours) for measure, (ours, *_) in starts]
    figures = [figure for figure, _ in judged] + started
    print(table([figure for figure, _ in judged], "reference"))
    print(f"\nthe program:\n{table(started, 'peer then')}")
    if options.former:
        before = [compared_with_former(measure, *samples) for measure, samples in starts]
        print(f"\nagainst the version before:\n{table(before, 'before')}")
    print("\nthe reference against itself, which is how exact a ratio is:")
    for figure, spread in judged:
        print(f"  {figure.measure.name}: {spread:.2f} x")
    if options.json:
        write_json(options.json, figures)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commands", description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer samples")
    ours = shlex.join([os.path.join(os.path.dirname(sys.executable), "step-runner")])
    parser.add_argument("--program", metavar="COMMAND", default=ours, help="the program to measure")
    parser.add_argument("--former", metavar="COMMAND", help="the version before, measured in turns for a third table")
    parser.add_argument("--json", metavar="FILE", help="write the figures with all samples into a file")
    return parser.parse_args(arguments)


def _judged(take: Take) -> tuple[Figure, float]:
    """Return the figure, and the reference as a multiple of itself.

    Ours and the reference are taken in turns, so that a machine that is slower for a while is slower for all, and none
    finds its code in the processor's caches because it ran just before. The first round is a warm-up.
    """
    rounds = [[(take.reference(), take.ours()) for _ in range(2)] for _ in range(take.times + 1)][1:]
    (before, first), (after, second) = (tuple(zip(*half, strict=True)) for half in zip(*rounds, strict=True))
    reference = Figure(take.measure, before + after).median
    spread = statistics.median(after) / statistics.median(before)
    return Figure(replace(take.measure, reference=reference), first + second), max(spread, 1 / spread)


def _in_turns(start: Start, programs: Sequence[Sequence[str]], short: bool) -> list[tuple[float, ...]]:
    """Return the samples of each program; the first round is a warm-up."""
    rounds = [[start.sample(program) for program in programs] for _ in range((5 if short else 60) + 1)][1:]
    return list(zip(*rounds, strict=True))


def _starts(directory: str) -> list[Start]:
    function = os.path.join(directory, "hello.yml")
    with open(function, "w", encoding="utf-8") as file:
        file.write(HELLO)
    env = _compiled(os.environ, os.path.join(directory, "bytecode"))
    return [
        Start(HELP, lambda program: _run(env, *program, "--help")()),
        Start(RUN_HELLO, lambda program: _run(env, *program, "run", function)()),
        Start(SERVE_READY, lambda program: _served(env, program, directory)[0]),
        Start(SERVE_GONE, lambda program: _served(env, program, directory, SETTLES)[1]),
    ]


def _takes(directory: str, short: bool) -> list[Take]:
    true = shutil.which("true") or "true"
    env = _compiled(os.environ, os.path.join(directory, "bytecode"))
    bare = _run(env, sys.executable, "-c", "pass")
    few, many = (2, 10) if short else (20, 500)
    size = 10**7 if short else 10**9
    captured = _timed(lambda: subprocess.run([true], capture_output=True))
    hundred = _timed(lambda: asyncio.run(_hundred_of_asyncio(true)))
    return [
        Take(RUN_TRUE, _timed(lambda: Cmd([true]).run()), _timed(lambda: subprocess.run([true])), many),
        Take(RUN_CAPTURED, _timed(lambda: run([true])), captured, many),
        Take(HUNDRED, _timed(lambda: asyncio.run(_hundred(true))), hundred, few),
        Take(READ_BYTES, lambda: _read_by_cmd(size, text=False), lambda: _read_by_popen(size, text=False), 5),
        Take(READ_TEXT, lambda: _read_by_cmd(size, text=True), lambda: _read_by_popen(size, text=True), 5),
        Take(DEATH_NOTICED, _noticed_by_cmd, _noticed_by_popen, many),
        Take(IMPORT, lambda: _import_above(env), bare, few),
    ]


def _compiled(env: Mapping[str, str], directory: str) -> dict[str, str]:
    """Return an environment in which Python caches bytecode, as for a program that pip has installed."""
    kept = {name: value for name, value in env.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": directory}


def _timed(call: Callable[[], object]) -> Callable[[], float]:
    return lambda: 1000 * seconds(call)


def _run(env: Mapping[str, str], *command: str) -> Callable[[], float]:
    return _timed(lambda: subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=True))


def _import_above(env: Mapping[str, str]) -> float:
    """Return how many milliseconds longer the import of the library takes than that of subprocess."""
    library, alone = (_run(env, sys.executable, "-c", f"import {name}") for name in ("gracefulexitcmd", "subprocess"))
    return library() - alone()


async def _hundred(true: str) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(100):
            tasks.create_task(AsyncCmd([true]).run())


async def _hundred_of_asyncio(true: str) -> None:
    async def one() -> None:
        process = await asyncio.create_subprocess_exec(true)
        await process.wait()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(100):
            tasks.create_task(one())


def _writes(size: int) -> list[str]:
    """Return a command that writes this number of bytes, in lines of 64."""
    return ["sh", "-c", f"yes {'x' * 63} | head -c {size}"]


def _read_by_cmd(size: int, *, text: bool) -> float:
    with Cmd(_writes(size), stdout=PIPE, text=text) as command:
        return _rate(command.stdout, size)


def _read_by_popen(size: int, *, text: bool) -> float:
    with subprocess.Popen(_writes(size), stdout=PIPE, text=text) as process:
        assert process.stdout is not None
        return _rate(process.stdout, size)


def _rate(lines: Iterable[object], size: int) -> float:
    """Return the rate, in MB/s, of reading this number of bytes by lines."""

    def read() -> None:
        for _ in lines:
            pass

    return size / 1e6 / seconds(read)


def _noticed_by_cmd() -> float:
    exit_ = Cmd(SAY_THE_TIME, timeout=TIMEOUT, stdout=subprocess.PIPE).run()
    return _since(exit_.stdout or b"")


def _noticed_by_popen() -> float:
    process = subprocess.Popen(SAY_THE_TIME, stdout=subprocess.PIPE)
    process.wait(TIMEOUT)
    assert process.stdout is not None
    with process.stdout as stdout:
        return _since(stdout.read())


def _since(said: bytes) -> float:
    """Return the milliseconds since a value of bash's EPOCHREALTIME, which has the decimal point of the locale."""
    return 1000 * (time.time() - float(said.decode().replace(",", ".")))


def _served(env: Mapping[str, str], program: Sequence[str], directory: str, idle: float = 0) -> tuple[float, float]:
    """Return the milliseconds until a server listens, and from SIGTERM, after an idle time, until it has ended."""
    command = (*program, "serve", "--socket", os.path.join(directory, "socket"))
    start = time.perf_counter()
    server = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with server:
        assert server.stderr is not None
        ready = any("listening on socket" in line for line in server.stderr)
        listening = time.perf_counter()
        time.sleep(idle)
        stopped = time.perf_counter()
        server.terminate()
        assert ready, "the server ended before it listened"
        server.stderr.read()
        server.wait()
    return 1000 * (listening - start), 1000 * (time.perf_counter() - stopped)


if __name__ == "__main__":
    raise SystemExit(main())
