"""A command has a lower process limit than its user: all its processes get that limit, whenever they were forked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gracefulexitcmd.posix import process_table
from step_runner.runner import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform != "linux":
    pytest.skip("only Linux can set the limits of another process", allow_module_level=True)

import resource

MOST = 500

FORKS_WHEN_TOLD = """\
import os, sys
print("ready", flush=True)
while sys.stdin.readline():
    if os.fork() == 0:
        sys.stdin.close()
        print("born", flush=True)
        import signal
        signal.pause()
"""


@pytest.fixture(autouse=True)
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the user of the tests has a process limit."""
    monkeypatch.setattr(limits, "_most", lambda: MOST)


@pytest.fixture
def command() -> Iterator[subprocess.Popen[str]]:
    """Yield a command that forks for each line that it reads."""
    argv = [sys.executable, "-I", "-S", "-c", FORKS_WHEN_TOLD]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        for pid in (*process_table.descendants(process.pid), process.pid):
            os.kill(pid, signal.SIGKILL)


def fork_child(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "born\n"


def of(pid: int) -> int:
    return resource.prlimit(pid, resource.RLIMIT_NPROC)[0]


def test_command_and_its_descendants_get_limit(command: subprocess.Popen[str]) -> None:
    fork_child(command)
    limits.reserve(command.pid)
    fork_child(command)
    family = [command.pid, *process_table.descendants(command.pid)]
    assert [of(pid) for pid in family] == [MOST] * 3


def test_process_forked_during_scan_gets_limit(command: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork bomb goes on forking during the scan."""
    fork_child(command)
    descendants, births = process_table.descendants, iter([True, True])

    def slowly(pid: int) -> Iterator[int]:
        found = list(descendants(pid))
        if next(births, False):
            fork_child(command)
        yield from found

    monkeypatch.setattr(limits, "descendants", slowly)
    limits.reserve(command.pid)
    assert [of(pid) for pid in descendants(command.pid)] == [MOST] * 3


def test_lower_limit_of_a_process_is_kept(command: subprocess.Popen[str]) -> None:
    resource.prlimit(command.pid, resource.RLIMIT_NPROC, (MOST - 1, MOST - 1))
    limits.reserve(command.pid)
    assert of(command.pid) == MOST - 1


def test_ended_process_is_not_an_error() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    limits.reserve(process.pid)
