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

from benchmarks.measure import Bound, Figure, Measure, machine, seconds, table, write_json

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
HELP = Measure("step-runner --help", "ms", None, Bound(80, "ms"))
RUN_HELLO = Measure("step-runner run of a hello function", "ms", None, Bound(200, "ms"))
SERVE_READY = Measure("step-runner serve until it listens", "ms", None, Bound(300, "ms"))

TIMEOUT = 60.0
"""A grace period in seconds that no command here uses."""

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; always return the exit status 0."""
    options = _options(arguments)
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        judged = [_judged(take) for take in _takes(shlex.split(options.program), directory, options.short)]
    figures = [figure for figure, _ in judged]
    print(table(figures, "reference"))
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
    parser.add_argument("--json", metavar="FILE", help="write the figures with all samples into a file")
    return parser.parse_args(arguments)


def _judged(take: Take) -> tuple[Figure, float]:
    """Return the figure, and the reference as a multiple of itself.

    Ours and the reference are taken in turns, so that a machine that is slower for a while is slower for all; the
    first round is a warm-up.
    """
    rounds = [(take.reference(), take.ours(), take.reference()) for _ in range(take.times + 1)][1:]
    before, ours, after = zip(*rounds, strict=True)
    reference = Figure(take.measure, before + after).median
    spread = statistics.median(after) / statistics.median(before)
    return Figure(replace(take.measure, reference=reference), ours), max(spread, 1 / spread)


def _takes(program: Sequence[str], directory: str, short: bool) -> list[Take]:
    true = shutil.which("true") or "true"
    function = os.path.join(directory, "hello.yml")
    with open(function, "w", encoding="utf-8") as file:
        file.write(HELLO)
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
        Take(HELP, _run(env, *program, "--help"), bare, few),
        Take(RUN_HELLO, _run(env, *program, "run", function), bare, few),
        Take(SERVE_READY, lambda: _until_ready(env, program, directory), bare, few),
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


def _until_ready(env: Mapping[str, str], program: Sequence[str], directory: str) -> float:
    command = (*program, "serve", "--socket", os.path.join(directory, "socket"))
    start = time.perf_counter()
    server = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with server:
        assert server.stderr is not None
        ready = any("listening on socket" in line for line in server.stderr)
        took = time.perf_counter() - start
        server.terminate()
        assert ready, "the server ended before it listened"
        # Its end is not measured, but no other measurement starts before it.
        server.stderr.read()
    return 1000 * took


if __name__ == "__main__":
    raise SystemExit(main())
