"""A fetch in a thread, which a cancel abandons."""

from __future__ import annotations

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


def test_result_of_the_work_is_returned(proc: Proc) -> None:
    assert in_background(lambda: threading.current_thread().name, proc) == "fetch"


def test_error_of_the_work_is_raised(proc: Proc) -> None:
    def work() -> None:
        raise OSError("no route")

    with pytest.raises(OSError, match="no route"):
        in_background(work, proc)


@pytest.mark.parametrize(
    ("cause", "reason"), [(Cause.CANCELLED, "its job was cancelled"), (Cause.TIMEOUT, "the job's time was over")]
)
def test_work_that_does_not_end_is_left_behind(
    proc: Proc, monkeypatch: pytest.MonkeyPatch, cause: Cause, reason: str
) -> None:
    """A lookup of a host name, for example, takes half a minute if no name server answers."""
    monkeypatch.setattr(background, "MOMENT", 0.0)
    go_on = threading.Event()

    def work() -> None:
        proc.cancel(cause)
        go_on.wait()

    with pytest.raises(StoppedError, match=f"^the fetch was stopped because {reason}$"):
        in_background(work, proc)
    go_on.set()


def test_what_a_cancelled_fetch_made_is_removed_after_it(
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
        in_background(lambda: cache.get(("key",), make, proc), proc)
    assert list((tmp_path / "cache/partial").rglob("half"))
    go_on.set()
    found = cache.get(("key",), lambda directory, scratch: (directory / "file").touch(), type(proc)(0))
    assert [path.name for path in found.iterdir()] == ["file"]
    assert list((tmp_path / "cache/partial").iterdir()) == []
