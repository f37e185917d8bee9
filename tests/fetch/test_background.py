"""A fetch in a thread, which a cancel abandons."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from gracefulexitcmd import Cause
from step_runner.errors import StoppedError
from step_runner.fetch import background
from step_runner.fetch.background import in_background
from step_runner.fetch.cache import Cache

if TYPE_CHECKING:
    from pathlib import Path

    from step_runner.proc import Proc


async def test_background_work_returns_its_result(proc: Proc) -> None:
    assert await in_background(lambda: threading.current_thread().name, proc) == "fetch"


async def test_background_work_raises_its_error(proc: Proc) -> None:
    def work() -> None:
        raise OSError("no route")

    with pytest.raises(OSError, match="no route"):
        await in_background(work, proc)


@pytest.mark.parametrize(
    ("cause", "reason"), [(Cause.CANCELLED, "its job was cancelled"), (Cause.TIMEOUT, "the job's timeout was reached")]
)
async def test_cancelled_fetch_leaves_stuck_work_running(
    proc: Proc, monkeypatch: pytest.MonkeyPatch, cause: Cause, reason: str
) -> None:
    """A lookup of a host name, for example, takes half a minute if no name server answers."""
    monkeypatch.setattr(background, "MOMENT", 0.0)
    go_on = threading.Event()

    def work() -> None:
        proc.cancel(cause)
        go_on.wait()

    with pytest.raises(StoppedError, match=f"^the fetch was stopped because {reason}$"):
        await in_background(work, proc)
    go_on.set()


async def test_cancelled_fetch_removes_its_files_when_work_ends(
    proc: Proc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next fetch of the same directory waits until its files are removed."""
    monkeypatch.setattr(background, "MOMENT", 0.0)
    cache, go_on = Cache(tmp_path / "cache"), threading.Event()

    def make(directory: Path, scratch: Path) -> None:
        (directory / "half").touch()
        proc.cancel()
        go_on.wait()

    with pytest.raises(StoppedError):
        await in_background(lambda: cache.get(("key",), make, proc), proc)
    assert list((tmp_path / "cache/partial").rglob("half"))
    go_on.set()
    found = cache.get(("key",), lambda directory, scratch: (directory / "file").touch(), type(proc)(0))
    assert [path.name for path in found.iterdir()] == ["file"]
    assert list((tmp_path / "cache/partial").iterdir()) == []


async def test_cancelled_waiter_gives_fetch_time_to_end(proc: Proc) -> None:
    """Ctrl-C during the fetch of `start` cancels the task that waits; a credential helper then ends."""
    started, ended = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        cancelled = threading.Event()
        with proc.listening(lambda _: cancelled.set()):
            loop.call_soon_threadsafe(started.set)
            cancelled.wait()
        ended.set()

    waiting = asyncio.ensure_future(in_background(work, proc))
    await started.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()
