"""Each fault is an error or is reported, and leaves no process, descriptor or thread."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.support.commands import FOREVER, join_waiting_threads, on_every_path

from gracefulexitcmd import PIPE, Cmd, run
from gracefulexitcmd.posix.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.commands import Program, Start, Wait

    from gracefulexitcmd.cmd import BaseCmd


def test_second_start_is_refused(start: Start, wait: Wait, result: Callable[[Any], Any]) -> None:
    command: Any = start(["true"])
    with pytest.raises(RuntimeError, match="this command was already started: make a new one"):
        result(command.start())
    wait(command)
    with pytest.raises(RuntimeError, match="this command was already started: make a new one"):
        result(command.start())


def test_wait_before_start_is_refused(kind: type[BaseCmd], result: Callable[[Any], Any]) -> None:
    command: Any = kind(["true"])
    with pytest.raises(RuntimeError, match="not started yet: call start first"):
        result(command.wait())


@pytest.mark.parametrize("grace", [-1, float("inf"), float("nan")])
def test_cancel_with_invalid_time_is_refused(start: Start, wait: Wait, grace: float) -> None:
    command = start(["true"])
    with pytest.raises(ValueError, match=r"grace is .*: it must be a number of seconds"):
        command.cancel(grace=grace)
    assert wait(command).ok


@on_every_path
@pytest.mark.parametrize("argv", [["/no/such/program"], ["no-such-program"], ["/"]])
def test_unrunnable_program_leaves_nothing(
    kind: type[BaseCmd], result: Callable[[Any], Any], argv: list[str], descriptors: Callable[[], int]
) -> None:
    command: Any = kind(argv, stdout=PIPE, stderr=PIPE, input=b"text")
    before = descriptors()
    with pytest.raises(OSError, match=argv[0]):
        result(command.start())
    assert descriptors() == before
    assert command.pid is None


def test_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        Cmd(["true"], cwd=tmp_path / "missing").start()


@on_every_path
@pytest.mark.parametrize("successes", [0, 1, 2])
def test_command_without_watcher_is_ended(
    monkeypatch: pytest.MonkeyPatch, descriptors: Callable[[], int], successes: int
) -> None:
    """There was memory for the process, but not for everything that waits for it."""
    real = Poller.watch
    left = successes

    def watch(*arguments: Any, **options: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        real(*arguments, **options)

    before = descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(Poller, "watch", watch)
        with pytest.raises(OSError, match="Cannot allocate memory"):
            Cmd(FOREVER, stdout=PIPE, input=b"text").start()
    join_waiting_threads()
    assert descriptors() == before


OUT_OF_DESCRIPTORS = """\
import os, resource, subprocess, sys
from gracefulexitcmd import Cmd
reader, writer = os.pipe()
command = Cmd(sys.argv[1:], grace=1000, stderr=writer)
command.start()
os.close(writer)
open(reader).readline()
used = max(map(int, os.listdir("/proc/self/fd"))) + 1
resource.setrlimit(resource.RLIMIT_NOFILE, (used, used))
held = []
try:
    while True:
        held.append(os.dup(0))
except OSError:
    pass
command.cancel()
os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOWAIT)
command.cancel(grace=0.2)
exit = command.wait()
print(exit.returncode, exit.forced)
"""


def test_stop_needs_no_free_descriptor(program: Program) -> None:
    """Without a list of processes none counts as ended: SIGKILL comes at the end of the grace period."""
    ended = subprocess.run(
        [sys.executable, "-c", OUT_OF_DESCRIPTORS, *program("leader_obeys.sh")], capture_output=True, text=True
    )
    assert (ended.stdout, ended.stderr) == ("-15 True\n", "")


UNKILLABLE = """\
import json, sys
from gracefulexitcmd import Cmd, ladder
ladder.KILL_PATIENCE = 0.2
argv = ["setpriv", "--reuid", "65534", "sh", "-c", "echo ready; exec sleep 1000"]
with Cmd(argv, stdout=int(sys.argv[1]), stderr=-3, grace=0.1) as command:
    open(int(sys.argv[2])).readline()
exit = command.exit
print(json.dumps([exit.cause, exit.returncode, exit.forced, [[p.pid, p.ended_by] for p in exit.census], command.pid]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process that it may not signal")
def test_unsignallable_process_is_reported_and_not_awaited() -> None:
    """Root without CAP_KILL may not signal a process of another user."""
    reader, writer = os.pipe()
    argv = ["setpriv", "--bounding-set", "-kill", "--inh-caps", "-kill", sys.executable, "-W", "ignore"]
    ended = subprocess.run(
        [*argv, "-c", UNKILLABLE, str(writer), str(reader)], pass_fds=(reader, writer), capture_output=True, text=True
    )
    os.close(reader)
    os.close(writer)
    assert ended.stderr == ""
    cause, status, forced, census, pid = json.loads(ended.stdout)
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait()
    assert (cause, status, forced) == ("cancelled", None, True)
    assert census == [[pid, None]]


FREEZER = "/sys/fs/cgroup/freezer"


FROZEN = """\
import json, os, sys
from gracefulexitcmd import Cmd, ladder
ladder.KILL_PATIENCE = 0.2
command = Cmd(["sleep", "1000"], grace=0.1)
command.start()
with open(f"{sys.argv[1]}/tasks", "w") as tasks:
    tasks.write(str(command.pid))
with open(f"{sys.argv[1]}/freezer.state", "w") as state:
    state.write("FROZEN")
with open(f"{sys.argv[1]}/freezer.state") as state:
    while state.read() != "FROZEN\\n":
        state.seek(0)
command.cancel()
ended = command.wait()
census = [[process.pid == command.pid, process.ended_by] for process in ended.census]
print(json.dumps([ended.cause, ended.returncode, ended.forced, census]))
with open(f"{sys.argv[1]}/freezer.state", "w") as state:
    state.write("THAWED")
os.waitpid(command.pid, 0)
"""


@pytest.mark.skipif(not os.access(FREEZER, os.W_OK), reason="the freezer of version 1 is needed, and root")
def test_unkillable_process_is_reported_and_not_awaited() -> None:
    """A process in a frozen cgroup of version 1 is in uninterruptible sleep, state D.

    So is one that waits for a dead file server.
    """
    directory = f"{FREEZER}/test-{os.getpid()}"
    os.mkdir(directory)
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", FROZEN, directory], capture_output=True, text=True)
    os.rmdir(directory)
    assert ended.stderr == ""
    assert json.loads(ended.stdout) == ["cancelled", None, True, [[True, None]]]


def test_two_hundred_commands_leave_nothing(descriptors: Callable[[], int], path: str) -> None:
    """No descriptor and no thread remains; each test also checks for zombies."""
    Cmd(["true"], stdout=PIPE, stderr=PIPE, input=b"text").run()
    join_waiting_threads()
    descriptors_before, threads_before = descriptors(), threading.active_count()
    for _ in range(200 if path == "pidfd" else 50):
        Cmd(["true"], stdout=PIPE, stderr=PIPE, input=b"text").run()
    join_waiting_threads()
    assert descriptors() == descriptors_before
    assert threading.active_count() == threads_before


@on_every_path
def test_abandoned_command_leaves_no_descriptors(descriptors: Callable[[], int]) -> None:
    gc.collect()  # earlier tests may have left some
    before = descriptors()
    command = Cmd(["cat"], stdout=PIPE, input=b"text")
    command.start()
    pid = command.pid
    assert pid is not None
    with pytest.warns(ResourceWarning, match=f"subprocess {pid} is still running"):  # noqa: PT031 - at either of both
        del command
        gc.collect()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    join_waiting_threads()
    assert descriptors() == before


def test_abandoned_command_is_reaped_at_next_start() -> None:
    """It is a zombie only until then, as in subprocess."""
    command = Cmd(["true"])
    command.start()
    pid = command.pid
    assert pid is not None
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with pytest.warns(ResourceWarning, match="still running"):  # noqa: PT031 - at either of both
        del command
        gc.collect()
    run(["true"])
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_fork_keeps_output_of_parent_command() -> None:
    """A discarded fork neither reads the output nor unregisters the parent's descriptors."""
    command = Cmd(["sh", "-c", "printf text; exec sleep 0.2"], stdout=PIPE)
    command.start()
    forked = os.fork()
    if forked == 0:
        with contextlib.suppress(BaseException):
            del command
            gc.collect()
        os._exit(0)
    os.waitpid(forked, 0)
    ended = command.wait()
    assert (ended.ok, ended.stdout) == (True, b"text")
