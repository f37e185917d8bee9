"""The memory that jobs and their followers use, and its release."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from typing import TYPE_CHECKING

import pytest
from tests.jobs.test_manager import start
from tests.support.steps import script

from step_runner.jobs.log import ALL_CHUNKS, LARGEST_CHUNK, JobLog

if TYPE_CHECKING:
    from step_runner.jobs.manager import JobManager

BACKGROUND = "sleep 1000 & echo ready"


@pytest.mark.parametrize("text", ["true", "exit 3", BACKGROUND, "sleep 1000 & echo ready; wait"])
async def test_closed_job_is_freed_without_collector(manager: JobManager, text: str) -> None:
    """No reference cycle keeps a job's values and results until the garbage collector runs."""
    await start(manager, script(text, "true"))
    async with contextlib.aclosing(manager.follow("1", 0)) as chunks:
        async for chunk in chunks:
            if b"ready" in chunk:
                break
    job = manager.job("1")
    freed = []
    for each in (job, job.log, job.masks):
        freed.append(asyncio.Event())
        weakref.finalize(each, freed[-1].set)
    del each
    gc.disable()
    try:
        await manager.close("1")
        del job
        for event in freed:  # pending callbacks of the loop may hold references until they have run
            await asyncio.wait_for(event.wait(), 20)
    finally:
        gc.enable()


async def test_chunks_shrink_with_many_followers(temporary: str) -> None:
    """A server holds chunks for each follower: for a thousand of them the chunks must be small."""
    own = JobLog(f"{temporary}/log")
    own.write(bytes(4 * LARGEST_CHUNK))
    own.end()
    number = 4 * ALL_CHUNKS // LARGEST_CHUNK
    async with contextlib.AsyncExitStack() as stack:
        followers = [await stack.enter_async_context(contextlib.aclosing(own.follow(0))) for _ in range(number)]
        assert len(await anext(followers[0])) == LARGEST_CHUNK
        for follower in followers[1:]:
            await anext(follower)
        assert {len(await anext(follower)) for follower in followers} == {ALL_CHUNKS // number}
    alone = own.follow(0)
    assert len(await anext(alone)) == LARGEST_CHUNK
    await alone.aclose()
