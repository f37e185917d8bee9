"""What holds for every test: temporary files of its own, and no process that outlives it."""

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
"""Audit events that tell of a new process."""

DYING = 20.0
"""Seconds that a process which was sent SIGKILL may take until the system has removed it, be it ever so busy."""

_started: list[str] = []


def _note_start(event: str, _arguments: object) -> None:
    if event in STARTS:
        _started.append(event)


sys.addaudithook(_note_start)

if sys.platform != "win32":
    # Below nohup(1), or in the background of a shell, they are ignored, and would be by all that the tests start.
    for ignorable in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(ignorable) is signal.SIG_IGN:
            signal.signal(ignorable, signal.default_int_handler if ignorable is signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def base(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The directory of `tmp_path` is made before any test has a place of its own for temporary files."""
    tmp_path_factory.getbasetemp()


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The directory for temporary files of this test alone, for it and the processes that it starts.

    Its path is short, because a socket's path may have no more than 107 bytes.
    """
    directory = tempfile.mkdtemp(prefix="t-")
    monkeypatch.setenv("TMPDIR", directory)
    monkeypatch.setenv("XDG_CACHE_HOME", directory)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")  # it is none of the sockets there
    monkeypatch.setattr(tempfile, "tempdir", directory)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_process_left(temporary: str) -> Iterator[None]:
    """Every process that a test starts has ended with the test."""
    _started.clear()
    yield
    if _started:
        _end(processes_of(temporary))


def processes_of(temporary: str) -> list[psutil.Process]:
    """The processes that have this directory for temporary files, but for this one."""
    return [process for process in psutil.process_iter() if _belongs(process, temporary)]


def _belongs(process: psutil.Process, temporary: str) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get("TMPDIR") == temporary
    except psutil.Error:
        return False


def _end(left: list[psutil.Process]) -> None:
    """Wait for their end; who waits as a zombie for a parent of its own has ended."""
    deadline = time.monotonic() + DYING
    while left and time.monotonic() < deadline:
        _, left = psutil.wait_procs(left, timeout=0.05)
        left = [process for process in left if lives(process)]
    told = [str(process) for process in left]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    assert told == [], "processes outlived the test"
