"""Measures how long a server takes for the requests of a client, from another process over the socket."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import psutil
from benchmarks.measure import (
    Bound,
    Figure,
    Measure,
    compared,
    compared_with_former,
    machine,
    seconds,
    table,
    write_json,
)

from step_runner.api.client import Client
from step_runner.errors import StepRunnerError
from step_runner.model import RunRequest, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

MB = 1_000_000
JOBS = 100
STEPS = 20

IMPORTING = 3
"""Seconds after which a server has imported all modules: it listens before that."""

LINE = 1024
"""The length of a line of the large logs, in bytes."""

# The references are the medians of GitLab's step-runner (Go, without graceful exit) on a machine with 2 cores.
EMPTY_JOB = Measure("empty script job, Run to finished", "ms", 5.7, Bound(0.62, "x"), 0.84)
MANY_STEPS = Measure(f"{STEPS} script steps, Run to finished", "ms", 101, Bound(0.4, "x"), 0.89)
STATUS_CALL = Measure("Status call", "ms", 0.13)
EXIT_SEEN = Measure("process exit to finished seen by a follower", "ms", 1.8, Bound(1.05, "x"), 0.72)
LIVE_LOG = Measure("large log followed live", "MB/s", 39, Bound(6, "x"), 1.11)
REPLAY = Measure("large log replayed", "MB/s", 45, Bound(17, "x"), 1.83)
JOBS_STARTED = Measure(f"{JOBS} jobs started one after another", "ms", 393, Bound(0.6, "x"), 0.87)
CANCEL = Measure("Cancel call to SIGTERM in the process", "ms", None, Bound(2, "ms"), 0.7)
CLOSE = Measure("cooperative script's exit to Close returning", "ms", None, Bound(5, "ms"), 0.7)
FIRST_BYTE = Measure("first log byte, write to follower", "ms", None, Bound(0.67, "x"))
MEMORY_IDLE = Measure("server memory, idle", "MB", 20, Bound(1.8, "x"), 0.78)
MEMORY_BUSY = Measure(f"server memory, {JOBS} running jobs", "MB", 37, Bound(1, "x"), 0.77)

COOPERATIVE = """\
trap 'printf %s "$EPOCHREALTIME" >"$STAMP"; exit 0' TERM
echo ready
sleep 3600 & wait
"""

PRINTS_LATE = """\
echo ready
read -r line <"$GATE"
echo "$EPOCHREALTIME"
exec sleep 0.02
"""
"""Prints the time at which it does so, once a follower waits for it."""

Sample: TypeAlias = "tuple[Measure, float]"


class Server(NamedTuple):
    """A running server; `processes` are its own processes, without those of jobs."""

    client: Client
    processes: tuple[psutil.Process, ...]
    directory: str
    socket: str


class Take(NamedTuple):
    """A generator of samples, and how many times it runs; `cancels` marks those whose calls some peers lack."""

    samples: Callable[[Server], Iterator[Sample]]
    times: int
    cancels: bool = False


class Plan(NamedTuple):
    """The numbers of samples, and the sizes of the large logs in bytes."""

    calls: int
    sequences: int
    rounds: int
    live: int
    replay: int


FULL = Plan(calls=200, sequences=20, rounds=5, live=200 * MB, replay=50 * MB)
SHORT = Plan(calls=20, sequences=5, rounds=1, live=50 * MB, replay=20 * MB)

_numbers = itertools.count(1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; always return the exit status 0."""
    options = _options(arguments)
    print(machine(), flush=True)
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(serving(options.server))
        peer = stack.enter_context(serving(options.peer)) if options.peer else None
        former = stack.enter_context(serving(options.former)) if options.former else None
        samples, *others = _samples(_takes(SHORT if options.short else FULL), ours, peer, former)
    figures = [Figure(measure, values) for measure, values in samples.items()]
    if peer:
        figures = [compared(figure.measure, figure.samples, others[0].get(figure.measure, ())) for figure in figures]
    print(table(figures, "peer now" if peer else "peer then"))
    if former:
        before = [
            compared_with_former(measure, values, others[1].get(measure, ())) for measure, values in samples.items()
        ]
        print(f"\nagainst the version before:\n{table(before, 'before')}")
    if options.json:
        write_json(options.json, figures)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service", description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer samples and smaller logs")
    ours = f"{shlex.quote(sys.executable)} -m step_runner"
    parser.add_argument("--server", metavar="COMMAND", default=ours, help="what to measure, run as COMMAND serve DIR")
    parser.add_argument("--peer", metavar="COMMAND", help="another program, measured in turns and the reference then")
    parser.add_argument("--former", metavar="COMMAND", help="the version before, measured in turns for a second table")
    parser.add_argument("--json", metavar="FILE", help="write the figures with all samples into a file")
    return parser.parse_args(arguments)


def _samples(takes: Sequence[Take], *servers: Server | None) -> list[dict[Measure, list[float]]]:
    """Take samples of all servers in turn, so that a slow phase of the machine affects all; return those of each."""
    samples: list[dict[Measure, list[float]]] = [{} for _ in servers]
    can_cancel = [server is not None and _can_cancel(server) for server in servers]
    for take in takes:
        for _ in range(take.times):
            for server, own, can in zip(servers, samples, can_cancel, strict=True):
                if server is not None and (can or not take.cancels):
                    _add(own, take.samples(server))
    return samples


def _can_cancel(server: Server) -> bool:
    """Return whether a server has the call Cancel; it ignores an unknown job."""
    try:
        server.client.cancel("benchmark-unknown")
    except StepRunnerError:
        return False
    return True


def _add(samples: dict[Measure, list[float]], taken: Iterator[Sample]) -> None:
    for measure, value in taken:
        samples.setdefault(measure, []).append(value)


# The measurements.


def _takes(plan: Plan) -> list[Take]:
    return [
        Take(_idle_memory, 1),
        Take(_warm_up, plan.calls // 10),
        Take(_empty_job, plan.calls),
        Take(_many_steps, plan.sequences),
        Take(_status_call, plan.calls),
        Take(_exit_seen, plan.calls),
        Take(_first_byte, plan.calls),
        Take(_cancelled, plan.calls, cancels=True),
        Take(_closed, plan.calls // 2, cancels=True),
        Take(_many_jobs, plan.rounds),
        Take(lambda server: _live_log(server, plan.live), plan.rounds),
        Take(lambda server: _replay(server, plan.replay), plan.rounds),
    ]


def _idle_memory(server: Server) -> Iterator[Sample]:
    time.sleep(IMPORTING)
    yield MEMORY_IDLE, _memory(server)


def _warm_up(server: Server) -> Iterator[Sample]:
    yield from ()
    _run_and_follow(server, ":")


def _empty_job(server: Server) -> Iterator[Sample]:
    took, _ = _run_and_follow(server, ":")
    yield EMPTY_JOB, 1000 * took


def _many_steps(server: Server) -> Iterator[Sample]:
    took, _ = _run_and_follow(server, *[":"] * STEPS)
    yield MANY_STEPS, 1000 * took


def _status_call(server: Server) -> Iterator[Sample]:
    with open_job(server, ":") as job:
        _follow(server, job)
        yield STATUS_CALL, 1000 * seconds(lambda: server.client.status(job))


def _exit_seen(server: Server) -> Iterator[Sample]:
    _, log = _run_and_follow(server, 'echo "$EPOCHREALTIME"')
    yield EXIT_SEEN, 1000 * (log.ended - _time(log.last.split()[-1].decode()))


def _first_byte(server: Server) -> Iterator[Sample]:
    gate = os.path.join(server.directory, "gate")
    with contextlib.suppress(FileExistsError):
        os.mkfifo(gate)
    with open_job(server, PRINTS_LATE, env={"GATE": gate}) as job:
        seen, is_open = b"", False
        for chunk in server.client.follow(job):
            at = time.time()
            seen += chunk
            _, ready, printed = seen.partition(b"ready\n")
            if ready and not is_open:
                is_open = _open_gate(gate)
            elif printed.endswith(b"\n"):
                yield FIRST_BYTE, 1000 * (at - _time(printed.decode()))
                break


def _open_gate(path: str) -> bool:
    with open(path, "w", encoding="ascii") as gate:  # waits until the script reads it
        return gate.write("\n") > 0


def _live_log(server: Server, size: int) -> Iterator[Sample]:
    took, log = _run_and_follow(server, _writer(size))
    assert log.size > size, f"only {log.size} of {size} bytes of the log came"
    yield LIVE_LOG, log.size / MB / took


def _replay(server: Server, size: int) -> Iterator[Sample]:
    with open_job(server, _writer(size)) as job:
        _follow(server, job)
        start = time.time()
        log = _follow(server, job)
        yield REPLAY, log.size / MB / (log.ended - start)


def _cancelled(server: Server) -> Iterator[Sample]:
    with _cooperative_job(server) as (job, stamp):
        start = time.time()
        server.client.cancel(job)
        _follow(server, job, expected=Status.CANCELLED)
        yield CANCEL, 1000 * (_read_time(stamp) - start)


def _closed(server: Server) -> Iterator[Sample]:
    with _cooperative_job(server) as (job, stamp):
        server.client.close(job)
        yield CLOSE, 1000 * (time.time() - _read_time(stamp))


def _many_jobs(server: Server) -> Iterator[Sample]:
    with contextlib.ExitStack() as stack:
        start = time.time()
        jobs = [stack.enter_context(open_job(server, "echo ready; exec sleep 3600")) for _ in range(JOBS)]
        yield JOBS_STARTED, 1000 * (time.time() - start)
        for job in jobs:
            await_ready(server, job)
        yield MEMORY_BUSY, _memory(server)


# Servers and jobs.


@contextlib.contextmanager
def serving(command: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        process = subprocess.Popen(
            [*shlex.split(command), "serve", directory],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            path = _socket(process)
            with Client(path) as client:
                own = psutil.Process(process.pid)
                yield Server(client, (own, *own.children(recursive=True)), directory, path)
        finally:
            process.terminate()
            process.wait()


def _socket(process: subprocess.Popen[str]) -> str:
    """Return the path of the socket from the server's message, and discard its later messages."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "listening on socket " in line:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return line.rstrip().rpartition(" ")[2]
    raise SystemExit(f"the server ended before it listened: {''.join(said)}")


def _memory(server: Server) -> float:
    """Return the memory of a server's processes in MB, each page counted once.

    The proportional set size divides the pages of a file by all processes that have it mapped. So it is less while
    clients, or another version that was installed from the same files, are running.
    """
    files: dict[tuple[str, str], int] = {}
    for process in server.processes:
        for part in process.memory_maps(grouped=False):
            key = (part.path, part.addr)  # a fork has the same addresses
            files[key] = max(files.get(key, 0), part.rss - part.anonymous)
    return (sum(files.values()) + sum(_anonymous(process.pid) for process in server.processes)) / MB


def _anonymous(pid: int) -> int:
    """Return the anonymous memory of a process in bytes, a page that it shares with a fork in equal parts."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        return next(1024 * int(line.split()[1]) for line in rollup if line.startswith("Pss_Anon:"))


class Log(NamedTuple):
    """A log that was followed to its end: its size, the last chunk, and the time of the end (seconds since 1970)."""

    size: int
    last: bytes
    ended: float


@contextlib.contextmanager
def _cooperative_job(server: Server) -> Iterator[tuple[str, str]]:
    """Run a job that ends at SIGTERM; yield its id, and the file to which it writes the time of SIGTERM."""
    stamp = os.path.join(server.directory, "stamp")
    with open_job(server, COOPERATIVE, env={"STAMP": stamp}) as job:
        await_ready(server, job)
        yield job, stamp


@contextlib.contextmanager
def open_job(server: Server, *scripts: str, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a job with these scripts as its steps; close it at the end of the block."""
    job = f"benchmark-{os.getpid()}-{next(_numbers)}"
    steps = [{"name": f"step_{number}", "script": script} for number, script in enumerate(scripts)]
    text = f"{{}}\n---\n{json.dumps({'run': steps})}\n"
    server.client.run(RunRequest(id=job, steps=text, work_dir=server.directory, env=env or {}))
    try:
        yield job
    finally:
        server.client.close(job)


def _run_and_follow(server: Server, *scripts: str) -> tuple[float, Log]:
    """Return the seconds of a job from the call of Run to the end of its log, and the log."""
    start = time.time()
    with open_job(server, *scripts) as job:
        log = _follow(server, job)
    return log.ended - start, log


def _follow(server: Server, job: str, expected: Status = Status.SUCCESS) -> Log:
    size, last = 0, b""
    for chunk in server.client.follow(job):
        size, last = size + len(chunk), chunk
    ended = time.time()
    status = server.client.status(job)
    assert status.status is expected, f"the job ended as {status.status.name}: {status.message}"
    return Log(size, last, ended)


def await_ready(server: Server, job: str) -> None:
    seen = b""
    for chunk in server.client.follow(job):
        seen += chunk
        if b"ready\n" in seen:
            return
    raise AssertionError(f"the job ended before it was ready: {seen.decode(errors='replace')}")


def _writer(size: int) -> str:
    return f"yes {'x' * (LINE - 1)} | head -c {size}"


def _read_time(path: str) -> float:
    with open(path, encoding="ascii") as file:
        return _time(file.read())


def _time(text: str) -> float:
    """Parse a value of bash's EPOCHREALTIME, which has the decimal point of the locale."""
    return float(text.replace(",", "."))


if __name__ == "__main__":
    raise SystemExit(main())
