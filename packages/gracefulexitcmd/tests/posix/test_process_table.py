"""The view of `/proc` on unusual processes."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gracefulexitcmd.posix import process_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such a /proc")


def _ended(process: subprocess.Popen[bytes]) -> int:
    process.kill()
    process.communicate()
    return process.pid


@pytest.mark.parametrize("name", ["a) b (c", "(((", ") Z 1 2 3", "two words", "new\nline", "\N{SNOWMAN}"])
def test_command_name_with_any_characters_is_parsed(tmp_path: Path, name: str) -> None:
    program = shutil.copy(shutil.which("cat") or "", tmp_path / name)
    with subprocess.Popen(
        [program, "-u"], process_group=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"ready")
        process.stdout.read(1)
        found, argv = process_table.process(process.pid), process_table.argv(process.pid)
        process.kill()
    assert found is not None
    assert (found.pid, found.parent, found.group) == (process.pid, os.getpid(), process.pid)
    assert found.session == os.getsid(0)
    assert found.alive
    assert argv == (os.fspath(program), "-u")


def test_missing_process_is_none() -> None:
    pid = _ended(subprocess.Popen(["true"]))
    assert process_table.process(pid) is None
    assert process_table.argv(pid) == ()
    assert list(process_table.children(pid)) == list(process_table.descendants(pid)) == []


def test_process_ending_during_read_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening its file succeeds, and reading it fails with ESRCH."""
    process = subprocess.Popen(["sleep", "1000"])
    real = os.open

    def late(path: str, flags: int) -> int:
        descriptor = real(path, flags)
        _ended(process)
        return descriptor

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", late)
        assert process_table.process(process.pid) is None


def test_zombie_is_not_alive_and_has_a_name_in_brackets() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    found = process_table.process(process.pid)
    assert found is not None
    assert not found.alive
    assert process_table.argv(process.pid) == ("[true]",)
    process.wait()


FIRST_THREAD_ENDS = """\
import ctypes, signal, sys, threading
threading.Thread(target=lambda: (print(flush=True), signal.pause()), daemon=True).start()
ctypes.CDLL(None).syscall(60, 0)
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number of exit(2) is another one")
def test_process_with_ended_first_thread_is_alive() -> None:
    """The kernel shows it as a zombie, although its other threads go on."""
    with subprocess.Popen([sys.executable, "-c", FIRST_THREAD_ENDS], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while (found := process_table.process(process.pid)) is not None and found.state != "Z":
            os.sched_yield()
        assert found is not None
        assert found.alive
        process.kill()


def test_pidfd_refers_to_exactly_this_process(descriptors: Callable[[], int]) -> None:
    own = process_table.process(os.getpid())
    assert own is not None
    before = descriptors()
    pidfd = process_table.open_pidfd(own)
    assert pidfd is not None
    os.close(pidfd)
    assert process_table.open_pidfd(own._replace(start_time=own.start_time + 1)) is None
    gone = _ended(subprocess.Popen(["true"]))
    assert process_table.open_pidfd(own._replace(pid=gone)) is None
    assert descriptors() == before


def test_long_chain_of_descendants_is_found_whole() -> None:
    """Each process waits for the next. A recursive walk would reach Python's recursion limit."""
    depth = 150
    script = (
        "import os, sys\n"
        "for _ in range(int(sys.argv[1])):\n"
        "    if os.fork(): os.wait(); os._exit(0)\n"
        "print(flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-S", "-c", script, str(depth)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(len(inspect.stack(0)) + depth // 2)
        try:
            found = list(process_table.descendants(process.pid))
        finally:
            sys.setrecursionlimit(limit)
        process.communicate()
    assert len(found) == depth


def test_children_of_all_threads_are_found() -> None:
    script = (
        "import subprocess, sys, threading\n"
        "start = lambda: (children.append(subprocess.Popen(['sleep', '1000'])), ready.set(), ended.wait())\n"
        "children, ready, ended = [], threading.Event(), threading.Event()\n"
        "thread = threading.Thread(target=start); thread.start(); ready.wait()\n"
        "print(children[0].pid, flush=True); sys.stdin.read()\n"
        "children[0].kill(); children[0].wait(); ended.set(); thread.join()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert list(process_table.children(process.pid)) == [child]
        process.communicate()
