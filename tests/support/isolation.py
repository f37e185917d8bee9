"""Isolates each test: it has its own temporary directory, and none of its processes outlives it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.living import lives

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTS = frozenset({"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty"})
"""Audit events for the start of a process."""

DYING = 20.0
"""Seconds that even a busy system may need to remove a process after SIGKILL."""

# Otherwise each of some thousand programs compiles its modules again, which takes longer than the rest of its work.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

_started: list[str] = []


def _note_start(event: str, _arguments: object) -> None:
    if event in STARTS:
        _started.append(event)


sys.addaudithook(_note_start)

if sys.platform != "win32":
    # nohup(1) and shells that start a background command ignore these signals, and children inherit that.
    for ignorable in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(ignorable) is signal.SIG_IGN:
            signal.signal(ignorable, signal.default_int_handler if ignorable is signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def base(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make the directory of `tmp_path` before any test sets its own directory for temporary files."""
    tmp_path_factory.getbasetemp()


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the test and its processes their own directory for temporary files.

    Its path is short, because the path of a socket has at most 107 bytes, unix(7).
    """
    directory = tempfile.mkdtemp(prefix="t-")
    monkeypatch.setenv("TMPDIR", directory)
    monkeypatch.setenv("XDG_CACHE_HOME", directory)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")  # so that the default socket is not in the session's directory
    monkeypatch.setattr(tempfile, "tempdir", directory)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_process_left(temporary: str) -> Iterator[None]:
    """Assert that each process of a test has ended with the test."""
    _started.clear()
    yield
    if _started:
        _end(processes_of(temporary))


def processes_of(temporary: str) -> list[psutil.Process]:
    """Return the processes that have this directory for temporary files, without this process."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            if pid != os.getpid() and _directory_of(pid) == temporary:
                found.append(psutil.Process(pid))
    return found


def _directory_of(pid: int) -> str | None:
    """Return the TMPDIR of a process; psutil would read two more files of each process, after each test."""
    if sys.platform != "linux":
        return psutil.Process(pid).environ().get("TMPDIR")
    with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
        _, found, rest = (b"\0" + file.read()).partition(b"\0TMPDIR=")
    return os.fsdecode(rest.partition(b"\0")[0]) if found else None


def _end(left: list[psutil.Process]) -> None:
    """Wait for the end of processes, and kill those that do not end; a zombie has ended."""
    deadline = time.monotonic() + DYING
    while left and time.monotonic() < deadline:
        _, left = psutil.wait_procs(left, timeout=0.05)
        left = [process for process in left if lives(process)]
    survivors = [str(process) for process in left]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    assert survivors == [], "processes outlived the test"
