"""Jobs in this process, each with all that sees to it that nothing survives, or without."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

from gracefulexitcmd import OrphanReaper
from gracefulexitcmd.posix import subreaper
from step_runner.jobs import job as jobs
from step_runner.jobs.manager import JobManager
from step_runner.model import RunRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

DELAY = 1.0
"""Seconds of grace, which nothing needs here."""

_numbers = itertools.count()


class Pair(NamedTuple):
    """Milliseconds that a job takes from Run to the end of its log."""

    contained: float
    bare: float


async def pairs(steps: int, times: int) -> list[Pair]:
    """Jobs of so many empty script steps.

    In turns, so that a machine that is slower for a while is slower for both; the first pair is a warm-up.
    """
    subreaper.become()
    manager = JobManager(DELAY, os.environ)
    taken = [Pair(await _contained(manager, steps), await _bare(manager, steps)) for _ in range(times + 1)]
    await manager.shut_down()
    return taken[1:]


async def _contained(manager: JobManager, steps: int) -> float:
    with OrphanReaper():
        return await _milliseconds(manager, steps)


async def _bare(manager: JobManager, steps: int) -> float:
    with mock.patch.multiple(jobs, _container=_Nothing, Confinement=_Nothing):
        return await _milliseconds(manager, steps)


async def _milliseconds(manager: JobManager, steps: int) -> float:
    job_id = str(next(_numbers))
    run = [{"name": f"s{number}", "script": ":"} for number in range(steps)]
    request = RunRequest(id=job_id, steps=f"{{}}\n---\n{json.dumps({'run': run})}", work_dir="/")
    start = time.perf_counter()
    await manager.run(request)
    async for _ in manager.follow(job_id, 0):
        """It runs."""
    took = time.perf_counter() - start
    await manager.close(job_id)
    return 1000 * took


class _Nothing:
    """In place of a container and of a confinement: it knows nobody, writes nothing down and looks for nobody."""

    ending = False

    def __init__(self, *_: Any) -> None:
        self.starting = contextlib.nullcontext

    def environment(self, env: Mapping[str, str]) -> Mapping[str, str]:
        return env

    def started(self, leader: int) -> None:
        """It has no ledger."""

    def ended(self, leader: int, *, group_empty: bool) -> None:
        """Nobody is looked for afterwards."""

    def surely_empty(self) -> bool:
        return True

    def close(self) -> None:
        """It holds nothing."""

    def step_started(self) -> None:
        """Nobody is moved."""

    async def end(self) -> None:
        """Nobody is being moved."""
