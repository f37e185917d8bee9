"""Looks for growth under load: many jobs, many followers of a job, a large log, many processes in a job."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from statistics import median
from threading import Barrier, Thread
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.measure import machine
from benchmarks.service import MB, Server, open_job, serving

from step_runner.api.client import Client
from step_runner.errors import StepRunnerError
from step_runner.model import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

EDGE = 50
"""The number of first and last jobs that are compared."""

STREAMS = 50
"""The number of followers that share a connection."""

LINE = "x" * 1023
WAITING = "echo ready; until [ -e {} ]; do sleep 0.1; done; echo over"


class Held(NamedTuple):
    """The resources of the server's own processes, and the files in their directory for temporary files."""

    megabytes: float
    descriptors: int
    threads: int
    processes: int
    files: int

    def __str__(self) -> str:
        return (
            f"{self.megabytes:.1f} MB, {self.descriptors} descriptors, {self.threads} threads, "
            f"{self.processes} processes, {self.files} files"
        )


class Case(NamedTuple):
    """A load with a short and a full size; it yields lines to print while it runs."""

    name: str
    short: int
    full: int
    load: Callable[[Server, int], Iterator[str]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; always return the exit status 0."""
    options = _options(arguments)
    print(machine(), flush=True)
    for case in CASES:
        if options.case in case.name:
            size = options.size or (case.short if options.short else case.full)
            _measure(case, size, options.server)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--short", action="store_true", help="small sizes: about two minutes in all")
    parser.add_argument("--size", type=int, metavar="N", help="this size instead")
    parser.add_argument("--case", default="", metavar="TEXT", help="only the cases whose names hold this text")
    parser.add_argument(
        "--server", default=f"{sys.executable} -m step_runner", metavar="COMMAND", help="what to measure"
    )
    return parser.parse_args(arguments)


def _measure(case: Case, size: int, command: str) -> None:
    """Start a server, and print its resources before and after the load."""
    print(f"{case.name}, {size}", flush=True)
    with serving(command) as server:
        _run(server)
        print(f"  before: {_held(server)}", flush=True)
        for line in case.load(server, size):
            print(f"  {line}", flush=True)
        _run(server)
        print(f"  after:  {_held(server)}", flush=True)


def _held(server: Server) -> Held:
    processes = server.processes
    return Held(
        sum(float(process.memory_full_info().pss) for process in processes) / MB,
        sum(process.num_fds() for process in processes),
        sum(process.num_threads() for process in processes),
        len(processes[0].children(recursive=True)) + 1,
        sum(len(files) for _, _, files in os.walk(tempfile.gettempdir())),
    )


# The loads.


def _jobs(server: Server, count: int) -> Iterator[str]:
    took = [_milliseconds(lambda: _run(server)) for _ in range(count)]
    yield f"a job: {median(took[:EDGE]):.1f} ms at first, {median(took[-EDGE:]):.1f} ms at last"


def _followers(server: Server, count: int) -> Iterator[str]:
    over = os.path.join(server.directory, "over")
    followed = Barrier(count + 1)
    sizes: list[int] = []
    with open_job(server, WAITING.format(over)) as job, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(server.socket)) for _ in range(-(-count // STREAMS))]
        threads = [
            Thread(target=_follow_one, args=(clients[number // STREAMS], job, followed, sizes))
            for number in range(count)
        ]
        for thread in threads:
            thread.start()
        followed.wait()
        yield f"while they follow: {_held(server)}"
        start = time.perf_counter()
        open(over, "w").close()
        for thread in threads:
            thread.join()
        yield f"the last one has the end after {time.perf_counter() - start:.2f} s"
        assert len(set(sizes)) == 1, "some followers have seen another log"
        assert len(sizes) == count


def _follow_one(client: Client, job: str, followed: Barrier, sizes: list[int]) -> None:
    size = 0
    try:
        for chunk in client.follow(job):
            if not size:
                followed.wait()
            size += len(chunk)
    except StepRunnerError:
        followed.abort()
        raise
    sizes.append(size)


def _large_log(server: Server, megabytes: int) -> Iterator[str]:
    most, size, next_look = 0.0, 0, 0.0
    start = time.perf_counter()
    with open_job(server, f"yes {LINE} | head -c {megabytes * MB}") as job:
        for chunk in server.client.follow(job):
            size += len(chunk)
            if time.perf_counter() > next_look:
                most, next_look = max(most, _held(server).megabytes), time.perf_counter() + 1
        _check(server, job, Status.SUCCESS)
        took = time.perf_counter() - start
    assert size > megabytes * MB
    yield f"followed live at {size / MB / took:.0f} MB/s, at most {most:.1f} MB held"


def _processes(server: Server, count: int) -> Iterator[str]:
    script = f"for n in $(seq {count}); do sleep 3600 & done; echo ready; wait"
    with open_job(server, script) as job:
        for chunk in server.client.follow(job):
            if b"ready" in chunk:
                break
        yield f"while they run: {_held(server)}"
        start = time.perf_counter()
        server.client.cancel(job)
        for _ in server.client.follow(job):
            """Wait for its end."""
        yield f"cancelled in {time.perf_counter() - start:.2f} s"
        _check(server, job, Status.CANCELLED)


def _run(server: Server) -> None:
    with open_job(server, ":") as job:
        for _ in server.client.follow(job):
            """Wait for its end."""
        _check(server, job, Status.SUCCESS)


def _check(server: Server, job: str, expected: Status) -> None:
    status = server.client.status(job)
    assert status.status is expected, f"the job ended as {status.status.name}: {status.message}"


def _milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


CASES = (
    Case("jobs, one after another", 500, 100_000, _jobs),
    Case("followers of one job", 200, 1_000, _followers),
    Case("a log, in MB", 500, 20_000, _large_log),
    Case("processes in one job", 500, 20_000, _processes),
)

if __name__ == "__main__":
    raise SystemExit(main())
