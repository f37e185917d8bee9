"""Several threads waiting for the same descriptors."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from gracefulexitcmd import PIPE, Cmd, run
from gracefulexitcmd.posix.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Callable


def test_single_wakeup_for_two_threads_blocks_neither() -> None:
    """Both threads see the wake-up; only one finds something to read."""
    poller = Poller()
    poller.wake()
    first, second = poller.wait(0), poller.wait(0)
    poller.react(first)
    poller.react(second)
    assert poller.wait(0) == []
    poller.close()


def test_repeated_wakeups_never_block() -> None:
    poller = Poller()
    for _ in range(100_000):
        poller.wake()
    poller.react(poller.wait(None))
    poller.close()


def test_second_poller_takes_one_descriptor(descriptors: Callable[[], int]) -> None:
    """All pollers share the descriptor that wakes their waiters."""
    first = Poller()
    before = descriptors()
    second = Poller()
    second.wake()
    assert descriptors() == before + 1
    first.close()
    assert len(second.wait(0)) == 1
    second.close()


DAEMON = """
import os, threading, time
from gracefulexitcmd import PIPE, Cmd, run
run(["true"], check=True)
os.closerange(3, 1000)
for _ in range(3):
    os.open("/dev/null", os.O_RDONLY)
command = Cmd(["sh", "-c", "trap '' TERM; echo; sleep 1000"], stdout=PIPE, grace=0.1)
command.start()
command.stdout.read(1)
waiting = threading.Thread(target=command.wait)
waiting.start()
time.sleep(0.1)  # so that it waits already, usually, and has to be woken
command.cancel()
waiting.join(60)
print(command.exit.cause)
"""


def test_daemon_that_closed_all_descriptors_can_cancel() -> None:
    """The descriptor that wakes waiting threads is made again, even if another file has got its number."""
    assert run([sys.executable, "-c", DAEMON], text=True, check=True).stdout == "cancelled\n"


def test_running_command_holds_four_descriptors(descriptors: Callable[[], int]) -> None:
    """They are its pidfd, its epoll and its two pipes: a server with 1,024 descriptors runs some 250 commands."""
    with Cmd(["sleep", "1000"], stdout=PIPE, stderr=PIPE):
        before = descriptors()
        with Cmd(["sleep", "1000"], stdout=PIPE, stderr=PIPE):
            assert descriptors() == before + 4


def test_close_wakes_all_threads_and_last_closes() -> None:
    """The descriptors are closed when the last waiting thread has left."""
    poller = Poller()
    threads = [threading.Thread(target=poller.wait, args=(None,)) for _ in range(10)]
    for thread in threads:
        poller.enter()
        thread.start()
    poller.close()
    for thread in threads:
        thread.join()
        poller.fileno()
        poller.leave()
    with pytest.raises(ValueError, match="closed"):
        poller.fileno()


def test_leaving_thread_wakes_the_others() -> None:
    poller = Poller()
    poller.enter()
    poller.enter()
    poller.leave()
    assert len(poller.wait(0)) == 1
    poller.close()
    poller.leave()


def test_forgotten_descriptor_is_not_called() -> None:
    """A new file may have got the descriptor's number since it was ready."""
    poller = Poller()
    reader, writer = os.pipe()
    called: list[str] = []
    poller.watch(reader, lambda: called.append("old"))
    os.write(writer, b"x")
    ready = poller.wait(None)
    poller.forget(reader)
    poller.watch(reader, lambda: called.append("new"))
    poller.react(ready)
    assert called == []
    poller.forget(reader)
    poller.forget(reader)
    os.close(reader)
    os.close(writer)
    poller.close()
