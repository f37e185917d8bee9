"""Process groups: their members, and signals that reach no other process."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from gracefulexitcmd import ManualContainer
from gracefulexitcmd.posix import process_group, process_table

if TYPE_CHECKING:
    from collections.abc import Callable


def test_path_is_the_requested_one(group: process_group.Group, path: str) -> None:
    """Only a pidfd identifies the group after its leader was reaped; otherwise the leader stays a zombie."""
    os.kill(group.pid, signal.SIGKILL)
    select.select([group.exit_descriptor], [], [])
    group.collect()
    assert (process_table.can_signal(group.pid) is None) == (path == "pidfd")


def test_member_is_distinguished_from_other_processes(group: process_group.Group, container: ManualContainer) -> None:
    """A process of the group is found; one outside of it is not."""
    assert [process.pid for process in container.members()] == [group.pid]
    assert [process.pid for process in container.members(quickly=True)] == [group.pid]
    assert process_table.argv(group.pid) == ("cat", "-u")


def test_signal_reaches_group_and_its_end_is_reported(group: process_group.Group, container: ManualContainer) -> None:
    assert group.signal(signal.SIGUSR1)
    select.select([group.exit_descriptor], [], [])
    assert group.collect() == -signal.SIGUSR1
    assert container.members() == []


def test_reaped_leader_number_is_not_signalled(
    group: process_group.Group, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number may belong to another group by then. A pidfd never does, and reports an empty group."""
    os.kill(group.pid, signal.SIGKILL)
    os.waitpid(group.pid, 0)
    real = os.killpg

    def killpg(number: int, which: int) -> None:
        assert which == 0, "a number was signalled that may have been reused"
        real(number, which)

    monkeypatch.setattr(os, "killpg", killpg)
    assert not group.signal(signal.SIGTERM)
    assert group.collect() is None
    assert not group.signal(signal.SIGTERM)


def test_zombies_are_not_members(group: process_group.Group, container: ManualContainer) -> None:
    os.kill(group.pid, signal.SIGKILL)
    select.select([group.exit_descriptor], [], [])
    assert container.members() == []


def test_group_outlives_its_leader(joined: None, path: str, program: Callable[..., list[str]]) -> None:
    """Its members are found and ended, and no other process is."""
    container = ManualContainer()
    process = subprocess.Popen(program("hold_pipe.py", "in"), stderr=subprocess.PIPE, stdout=-3, process_group=0)
    group = process_group.Group(process)
    container.started(group.pid)
    assert process.stderr is not None
    holder = int(process.stderr.readline())
    process.stderr.close()
    select.select([group.exit_descriptor], [], [])
    assert group.collect() == 0
    assert [member.pid for member in container.members()] == [holder]
    member = process_table.process(holder)
    assert member is not None
    pidfd = process_table.open_pidfd(member)
    assert pidfd is not None
    assert group.signal(signal.SIGKILL)
    with select.epoll() as poll:
        poll.register(pidfd)
        poll.poll()
    os.close(pidfd)
    assert container.members() == []
    group.close()
    container.close()


FORKING = """\
import os, time
print(flush=True)
while True:
    if os.fork():
        os._exit(0)
    time.sleep(0.002)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ps takes longer than such processes live")
def test_group_that_always_forks_is_never_empty() -> None:
    """Each of its processes lives for a moment only."""
    container = ManualContainer()
    process = subprocess.Popen([sys.executable, "-S", "-c", FORKING], stdout=subprocess.PIPE, process_group=0)
    group = process_group.Group(process)
    container.started(group.pid)
    assert process.stdout is not None
    process.stdout.readline()
    found = [bool(container.members()) for _ in range(10)]
    assert group.signal(signal.SIGKILL)
    process.stdout.read()
    process.stdout.close()
    group.collect()
    group.close()
    container.close()
    assert all(found)


def test_unstartable_thread_leaves_no_descriptors(
    monkeypatch: pytest.MonkeyPatch, descriptors: Callable[[], int]
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    child = subprocess.Popen(["true"], process_group=0)
    before = descriptors()
    monkeypatch.setattr(process_table, "portable", True)
    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        process_group.Group(child)
    assert descriptors() == before
    child.wait()
