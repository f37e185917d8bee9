"""The wish to stop a fetch."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from step_runner.errors import StoppedError

if TYPE_CHECKING:
    from step_runner.fetch.cancellation import Cancellation


def test_check_raises_only_after_cancel(cancellation: Cancellation) -> None:
    cancellation.check()
    cancellation.cancel()

    with pytest.raises(StoppedError):
        cancellation.check()
    assert cancellation.cancelled


def test_callback_is_called_once(cancellation: Cancellation) -> None:
    calls: list[str] = []
    with cancellation.calling(lambda: calls.append("called")):
        cancellation.cancel()
        cancellation.cancel()

    assert calls == ["called"]


def test_callback_is_called_at_once_when_already_cancelled(cancellation: Cancellation) -> None:
    cancellation.cancel()
    calls: list[str] = []
    with cancellation.calling(lambda: calls.append("called")):
        assert calls == ["called"]


def test_callback_is_forgotten_after_its_block(cancellation: Cancellation) -> None:
    calls: list[str] = []
    with cancellation.calling(lambda: calls.append("called")):
        pass
    cancellation.cancel()

    assert calls == []


def test_waiting_thread_is_woken(cancellation: Cancellation) -> None:
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(cancellation.wait(10)))
    thread.start()
    cancellation.cancel()
    thread.join()

    assert results == [True]
