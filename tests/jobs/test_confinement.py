"""The time at which a job's processes move into a control group."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, cast

from step_runner.jobs import confinement
from step_runner.jobs.confinement import Confinement

if TYPE_CHECKING:
    import pytest

    from gracefulexitcmd import ManualContainer


class Confined:
    """A container that counts the requests to confine its processes."""

    def __init__(self) -> None:
        self.times = 0
        self.confined = threading.Event()

    def confine(self) -> bool:
        self.times += 1
        self.confined.set()
        return True


async def test_short_steps_do_not_postpone_confinement(monkeypatch: pytest.MonkeyPatch) -> None:
    """The background processes of the first step may start to hide as well as those of a long one."""
    monkeypatch.setattr(confinement, "CONFINED_AFTER", 0.05)
    container = Confined()
    moving = Confinement(cast("ManualContainer", container))
    for times in (1, 2):
        while container.times < times:
            moving.step_started()
            await asyncio.sleep(0.001)
    await moving.end()


async def test_short_job_is_not_confined() -> None:
    container = Confined()
    moving = Confinement(cast("ManualContainer", container))
    moving.step_started()
    await moving.end()
    assert container.times == 0


async def test_move_waits_for_a_quiet_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """While jobs start one after another no process is moved: no other could start meanwhile. An end does not wait."""
    monkeypatch.setattr(confinement, "CONFINED_AFTER", 0.0)
    monkeypatch.setattr(confinement, "QUIET", 1000.0)
    monkeypatch.setattr(confinement, "PATIENCE", 1000.0)
    first, second = Confined(), Confined()
    movings = [Confinement(cast("ManualContainer", container)) for container in (first, second)]
    for moving in movings:
        moving.step_started()
    await asyncio.sleep(0.01)
    for moving in reversed(movings):
        await moving.end()
    assert first.times == second.times == 0


async def test_move_waits_only_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "CONFINED_AFTER", 0.0)
    monkeypatch.setattr(confinement, "QUIET", 1000.0)
    monkeypatch.setattr(confinement, "PATIENCE", 0.05)
    container = Confined()
    moving = Confinement(cast("ManualContainer", container))
    moving.step_started()
    await asyncio.to_thread(container.confined.wait)
    await moving.end()
