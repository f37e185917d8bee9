"""The end of a container is never skipped: not by exceptions, early stops or forks."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.crowd import Crowd

from gracefulexitcmd import PIPE, Cmd
from gracefulexitcmd.posix import delivery, subreaper

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there this process can be a subreaper")

START = """
import os, signal, sys, threading
from gracefulexitcmd import Cmd, ManualContainer, Termination, contain
from gracefulexitcmd.container import opened
from gracefulexitcmd.posix import subreaper

CHILD = "import os, signal, sys\\n{at_term}\\nprint(flush=True)\\nwhile True: signal.pause()"
BEGIN = "import subprocess, sys; subprocess.Popen(sys.argv[1:], stdout=-1, start_new_session=True).stdout.readline()"
IGNORE = "signal.signal(15, signal.SIG_IGN)"
TELL = "signal.signal(15, lambda *_: os.kill(int(sys.argv[2]), signal.SIGUSR1))"
PYTHON = [sys.executable, "-I", "-S", "-W", "ignore", "-c"]

def leave(container, at_term=""):
    # A command that ends by itself, and leaves a process in a session of its own that is ready for SIGTERM.
    child = [*PYTHON, CHILD.format(at_term=at_term), sys.argv[1], str(os.getpid())]
    assert Cmd([*PYTHON, BEGIN, *child], container=container).run().ok
"""


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    crowd.kill()


def run(crowd: Crowd, text: str) -> str:
    """Return the output of a program whose processes carry the crowd's mark."""
    command = [sys.executable, "-c", f"{START}\n{text}", crowd.mark]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


INTERRUPTED = """
def stop(*_): raise LookupError
signal.signal(signal.SIGUSR1, stop)
try:
    with contain(grace=1000) as container:
        leave(container, TELL)
except LookupError:
    print("raised")
"""


def test_exception_at_end_of_contain_kills_remaining_processes(crowd: Crowd) -> None:
    """It arrives after SIGTERM, and propagates when no process is left, although the grace period is long."""
    assert run(crowd, INTERRUPTED) == "raised\n"
    assert crowd.survivors() == []


STOPPED_EARLY = """
subreaper.become()
container = ManualContainer()
leave(container, IGNORE)
termination = Termination(container, grace=1000)
termination.cancel(grace=0)
print(termination.run().forced)
container.close()
"""


def test_early_stop_shortens_grace_and_skips_no_signal(crowd: Crowd) -> None:
    """A stop request before the teardown shortens its grace period; each process still gets the stop signal."""
    assert run(crowd, STOPPED_EARLY) == "True\n"
    assert crowd.survivors() == []


FORKED = """
with contain(grace=1000) as outer:
    leave(outer)
    if os.fork() == 0:
        with contain(grace=1000) as container:
            leave(container)
        print("emptied", flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
    print(len(opened(outer).members()))
"""


def test_forked_process_contains_its_own_commands(crowd: Crowd) -> None:
    """A child of a subreaper is not a subreaper, and does not own the containers of its parent."""
    assert run(crowd, FORKED) == "emptied\n1\n"
    assert crowd.survivors() == []


LEFT_BY_A_FORK = """
with contain(grace=1000) as container:
    leave(container)
    if (child := os.fork()) == 0:
        sys.exit(0)
    os.waitpid(child, 0)
    print(len(opened(container).members()))
"""


def test_forked_process_leaving_block_ends_no_process(crowd: Crowd) -> None:
    assert run(crowd, LEFT_BY_A_FORK) == "1\n"
    assert crowd.survivors() == []


def test_forked_process_is_not_a_subreaper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subreaper, "active", True)
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(writer, str(subreaper.active).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with open(reader) as said:
        assert said.read() == "False"
    assert subreaper.active


NO_DESCRIPTORS = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
with contain(grace=1000) as container:
    leave(container, IGNORE)
    command = Cmd(["sleep", "1000"], container=container, grace=0.1)
    command.start()
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    command.cancel()
    threading.Timer(0.5, lambda: [os.close(descriptor) for descriptor in taken]).start()
    print(command.wait().forced)
"""


def test_teardown_resumes_when_a_descriptor_is_free(crowd: Crowd) -> None:
    """Neither the cancel nor the wait fails meanwhile."""
    assert run(crowd, NO_DESCRIPTORS) == "True\n"
    assert crowd.survivors() == []


KILL_INTERRUPTED = """
from gracefulexitcmd.posix.teardown import Teardown
def stop(*_): raise LookupError
signal.signal(signal.SIGUSR1, stop)
kill = Teardown.kill
def interrupted(members):
    os.kill(os.getpid(), signal.SIGUSR1)
    kill(members)
Teardown.kill = interrupted
try:
    if MODE == "command":
        reader, writer = os.pipe()
        with Cmd([*PYTHON, CHILD.format(at_term=IGNORE), sys.argv[1]], stdout=writer) as command:
            os.read(reader, 1)
            command.cancel(grace=0)
            command.wait()
    else:
        with contain(grace=0) as container:
            leave(container, IGNORE)
except LookupError:
    print("raised")
"""


@pytest.mark.parametrize("mode", ["command", "container"])
def test_exception_during_final_kill_is_raised_after_it(crowd: Crowd, mode: str) -> None:
    """A signal handler that raises during the final kill drops no signal."""
    assert run(crowd, KILL_INTERRUPTED.replace("MODE", repr(mode))) == "raised\n"
    assert crowd.survivors() == []


LOSES_SIGNAL = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: None)
child = os.fork()
if child == 0:
    got = []
    signal.signal(signal.SIGTERM, lambda *_: got.append(True))
    os.write(1, b"ready\\n")
    while not got:
        time.sleep(0.001)
    os.execvp("sleep", ["sleep", "1000"])
os.waitpid(child, 0)
print("cleaned up", flush=True)
"""
"""Waits for its child before it cleans up, as a shell does; the child gets the signal between its fork and its exec."""


def test_signal_lost_between_fork_and_exec_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FORKING", 30.0)
    with Cmd([sys.executable, "-c", LOSES_SIGNAL], stdout=PIPE, text=True) as command:
        assert command.stdout.readline() == "ready\n"
        command.cancel()
        assert command.stdout.read() == "cleaned up\n"
    assert command.wait().forced is False
