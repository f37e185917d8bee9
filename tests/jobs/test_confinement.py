"""The time at which a job's processes move into a control group."""

from __future__ import annotations

import asyncio
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

    def confine(self) -> bool:
        self.times += 1
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
