"""Two processes that watch each other: if either is killed, no process is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.crowd import ALL, Crowd

from gracefulexitcmd.posix.supervise import FORWARDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PROGRAM = Path(__file__).parents[4] / "tests" / "programs" / "guarded.py"

LONG = 30.0
"""Seconds that no test ever takes."""


class Guarded:
    """The program, with a running worker."""

    def __init__(self, *arguments: str, prefix: Sequence[str] = ()) -> None:
        command = [*prefix, sys.executable, str(PROGRAM), *arguments]
        self.front = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
        )
        word, pid = self.line().split()
        assert word == "worker"
        self.worker = psutil.Process(int(pid))

    def line(self) -> str:
        assert self.front.stdout is not None
        return self.front.stdout.readline().rstrip("\n")

    def end(self) -> int:
        """Close their input, and wait for the end of both; return the supervisor's exit status."""
        assert self.front.stdin is not None
        self.front.stdin.close()
        status = self.front.wait(LONG)
        assert psutil.wait_procs([self.worker], timeout=LONG)[1] == []
        return status


@pytest.fixture
def guarded() -> Iterator[Callable[..., Guarded]]:
    started: list[Guarded] = []

    def start(*arguments: str, prefix: Sequence[str] = ()) -> Guarded:
        started.append(Guarded(*arguments, prefix=prefix))
        return started[-1]

    yield start
    for each in started:
        each.front.kill()
        with each.front:
            pass


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    crowd.kill()


@pytest.mark.parametrize("status", [0, 7, 255])
def test_exit_status_of_worker_is_that_of_supervisor(guarded: Callable[..., Guarded], status: int) -> None:
    assert guarded("exits", str(status)).end() == status


@pytest.mark.parametrize("number", FORWARDED, ids=lambda number: number.name)
def test_supervisor_forwards_signals_to_worker(guarded: Callable[..., Guarded], number: signal.Signals) -> None:
    process = guarded("receives")
    assert process.line() == "ready"
    process.front.send_signal(number)
    assert process.end() == number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_worker_without_handlers_ends_by_forwarded_signal(
    guarded: Callable[..., Guarded], number: signal.Signals
) -> None:
    """A worker that does not handle a signal ends by the one that the supervisor forwards."""
    process = guarded("starts", "true")
    process.front.send_signal(number)
    assert process.end() == 128 + number
    assert process.line().startswith(f"killed {number} ")


def test_stopped_worker_handles_forwarded_signal(guarded: Callable[..., Guarded]) -> None:
    process = guarded("receives")
    assert process.line() == "ready"
    process.worker.suspend()
    process.front.terminate()
    assert process.end() == signal.SIGTERM


def test_initially_ignored_signal_is_not_forwarded(guarded: Callable[..., Guarded]) -> None:
    """nohup(1) ignores SIGHUP; SIGTERM is the exception, as CI cancels a job with it."""
    process = guarded("receives", prefix=("sh", "-c", "trap '' HUP TERM; exec \"$@\"", ""))
    assert process.line() == "ready"
    process.front.send_signal(signal.SIGHUP)
    process.front.terminate()
    assert process.end() == signal.SIGTERM


def test_supervisor_learns_status_despite_ignored_sigchld(
    guarded: Callable[..., Guarded],
) -> None:
    """A supervisor that inherits SIGCHLD as ignored learns how its worker ended all the same."""
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    assert guarded("exits", "7", prefix=(sys.executable, "-c", ignoring)).end() == 7


def test_supervisor_accepts_descriptors_beyond_select(guarded: Callable[..., Guarded]) -> None:
    """Its parent may leave more descriptors open than select(2) can take."""
    many = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000))\n"
        "for number in range(3, 1100): os.dup2(2, number)\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    assert guarded("exits", "7", prefix=(sys.executable, "-c", many)).end() == 7


def test_worker_has_its_own_session(guarded: Callable[..., Guarded]) -> None:
    process = guarded("receives")
    assert os.getsid(process.worker.pid) == os.getpgid(process.worker.pid) == process.worker.pid
    process.front.terminate()
    process.end()


@pytest.mark.parametrize("whole_group", [False, True], ids=["front", "group of the front"])
def test_worker_learns_of_killed_supervisor(guarded: Callable[..., Guarded], whole_group: bool) -> None:
    process = guarded("watches")
    assert process.line() == "ready"
    if whole_group:
        os.killpg(process.front.pid, signal.SIGKILL)
    else:
        process.front.kill()
    assert process.line() == "gone"
    assert process.end() == -signal.SIGKILL


def test_processes_of_killed_worker_can_clean_up(
    guarded: Callable[..., Guarded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is 128 plus the signal, and the caller gets a report of the ended processes."""
    cleaned = tmp_path / "cleaned"
    monkeypatch.setenv("GRACE", str(LONG))
    process = guarded("starts", "sh", "-c", f"trap 'echo done >{cleaned}; exit' TERM; echo ready; while :; do :; done")
    assert process.line() == "ready"
    process.worker.kill()
    assert process.end() == 128 + signal.SIGKILL
    assert process.line() == f"killed {int(signal.SIGKILL)} ['SIGTERM']"
    assert cleaned.read_text() == "done\n"


def test_sigquit_hurries_teardown_of_killed_worker(
    guarded: Callable[..., Guarded], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so even just before the worker's end is noticed. Repeats of another signal change nothing."""
    monkeypatch.setenv("GRACE", str(10 * LONG))
    process = guarded("starts", "sh", "-c", "trap '' TERM; echo ready; while :; do :; done")
    assert process.line() == "ready"
    process.worker.kill()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        process.front.send_signal(number)
    assert process.end() == 128 + signal.SIGKILL
    assert process.line() == f"killed {int(signal.SIGKILL)} ['SIGKILL'] SIGQUIT"


def test_killed_worker_leaves_no_process(guarded: Callable[..., Guarded], crowd: Crowd) -> None:
    process = guarded("starts", "sh", "-c", crowd.script())
    assert process.line() == "ready"
    assert len(crowd.living()) >= ALL
    process.worker.kill()
    assert process.end() == 128 + signal.SIGKILL
    assert crowd.survivors() == []


def test_killed_worker_without_processes_is_reported(guarded: Callable[..., Guarded]) -> None:
    """The caller gets a report even if the worker has started no process."""
    process = guarded("receives")
    assert process.line() == "ready"
    process.worker.kill()
    assert process.end() == 128 + signal.SIGKILL
    assert process.line() == f"killed {int(signal.SIGKILL)} []"


def test_supervision_needs_pidfds() -> None:
    """A container engine may forbid pidfds: no process could then watch the worker."""
    program = (
        "import sys\nfrom gracefulexitcmd.posix import supervise as guard, process_table\n"
        "process_table.portable = True\n"
        "sys.exit(guard.supervise(lambda front_is_gone: 7 if front_is_gone is None else 0, 1.0, print))\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 7


SUSPENDED_WHILE_FORWARDING = """
import os, signal, sys
from gracefulexitcmd import supervise

send, (reader, writer), expected = signal.pidfd_send_signal, os.pipe(), {signal.SIGINT, signal.SIGCONT}

def send_slowly(pidfd, number):
    send(pidfd, number)
    if number == signal.SIGINT:
        os.kill(os.getpid(), signal.SIGTSTP)  # its handler runs before the function returns
    expected.discard(number)
    if not expected:
        os.write(writer, b"x")

def work(front_is_gone):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTSTP])
    os.kill(os.getppid(), signal.SIGINT)
    os.read(reader, 1)
    return signal.SIGTSTP not in signal.sigpending()

signal.pidfd_send_signal = send_slowly
sys.exit(supervise(work, 1.0, print, suspends=True))
"""


def test_ctrl_z_while_ctrl_c_is_forwarded_reaches_worker() -> None:
    """SIGCONT discards a pending SIGTSTP, signal(7), so the supervisor must not send it after the signal."""
    assert subprocess.run([sys.executable, "-c", SUSPENDED_WHILE_FORWARDING], check=False, timeout=LONG).returncode == 0


LEAVES_AN_ORPHAN = """
import os, subprocess, sys
if os.fork() == 0:
    os.setpgid(0, 0)
    open(sys.argv[1]).read()
    child = subprocess.Popen(["sleep", "1000"])
    open(sys.argv[1], "w").write(str(child.pid))
    os._exit(0)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes the supervisor. Its child starts a process on request, and ends."""


@pytest.mark.parametrize("kill", [False, True], ids=["worker ends", "worker is killed"])
def test_supervisor_spares_its_earlier_children(guarded: Callable[..., Guarded], tmp_path: Path, kill: bool) -> None:
    """Their orphans come to the supervisor too; those that have ended are reaped."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = guarded("receives", prefix=(sys.executable, "-c", LEAVES_AN_ORPHAN, str(fifo)))
    assert process.line() == "ready"
    fifo.write_text("start")
    orphan = psutil.Process(int(fifo.read_text()))
    try:
        front = psutil.Process(process.front.pid)
        while set(front.children()) != {process.worker, orphan}:
            pass
        process.worker.kill() if kill else process.front.terminate()
        process.end()
        assert orphan.status() == psutil.STATUS_SLEEPING
    finally:
        orphan.kill()
