"""Runs jobs in this process, with the containment of their processes and without it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from typing import Any, NamedTuple
from unittest import mock

from gracefulexitcmd import ManualContainer, OrphanReaper
from gracefulexitcmd.posix import subreaper
from step_runner.jobs import factory, job
from step_runner.jobs.manager import JobManager
from step_runner.model import RunRequest, Status

DELAY = 1.0
"""A grace period in seconds that no job here uses."""

_numbers = itertools.count()


class Pair(NamedTuple):
    """The milliseconds of a job from Run to the end of its log, with and without containment."""

    contained: float
    bare: float


async def pairs(steps: int, times: int) -> list[Pair]:
    """Measure jobs of `steps` empty script steps.

    Run both kinds in turn, so that a slow phase of the machine affects both; drop the first pair as a warm-up.
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
    without_container = mock.patch.object(factory, "ManualContainer", _NoContainer)
    with without_container, mock.patch.object(job, "Confinement", _NoConfinement):
        return await _milliseconds(manager, steps)


async def _milliseconds(manager: JobManager, steps: int) -> float:
    job_id = str(next(_numbers))
    run = [{"name": f"s{number}", "script": ":"} for number in range(steps)]
    request = RunRequest(id=job_id, steps=f"{{}}\n---\n{json.dumps({'run': run})}", work_dir="/")
    start = time.perf_counter()
    await manager.run(request)
    async for _ in manager.follow(job_id, 0):
        """Wait for its end."""
    took = time.perf_counter() - start
    ended = manager.status(job_id)
    assert ended.status is Status.SUCCESS, ended.message
    await manager.close(job_id)
    return 1000 * took


class _NoContainer(ManualContainer):
    """A container that does nothing: no ledger, no scans, no control group."""

    def __init__(self) -> None:
        """Do nothing: it has no cookie."""

    def starting(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def birthplace(self) -> None:
        """Return None: it has no control group."""

    def environment(self, env: Any) -> Any:
        return env

    def keep_ledger(self, *_: Any) -> None:
        """Do nothing: no other server ends its processes."""

    def started(self, leader: int, *, inside: bool = False) -> None:
        """Do nothing: it has no ledger."""

    def ended(self, leader: int, *, group_empty: bool) -> None:
        """Do nothing: it starts no scan."""

    def surely_empty(self) -> bool:
        return True

    def close(self) -> None:
        """Do nothing: it holds no resource."""


class _NoConfinement:
    """A confinement that moves no process into a control group."""

    def __init__(self, *_: Any) -> None:
        """Do nothing: it has no timer."""

    def step_started(self) -> None:
        """Do nothing: no move is due."""

    async def end(self) -> None:
        """Do nothing: no move is pending."""
