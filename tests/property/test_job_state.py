"""A job ends exactly once after any sequence of events, and a manager leaves no resources after any requests."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.steps import command, script, shell

from gracefulexitcmd import Cause, Exit
from step_runner.errors import CommandError, InternalError, StepError, StepRunnerError, StoppedError
from step_runner.jobs import state
from step_runner.jobs.manager import JobManager
from step_runner.model import ErrorKind, JobStatus, RunRequest, Status, Termination

FINAL = {Status.SUCCESS, Status.FAILURE, Status.CANCELLED}

errors = st.recursive(
    st.one_of(
        st.sampled_from([
            CommandError("exec: exit status 3", 3),
            StoppedError("stopped"),
            StoppedError("time over", timeout=True),
            InternalError("fault"),
            StepRunnerError("other"),
            ValueError("no error of ours"),
        ]),
    ),
    lambda inner: st.one_of(
        inner.map(lambda error: StepError("s", error)),
        st.lists(inner, min_size=1, max_size=3).map(lambda members: ExceptionGroup("group", members)),
    ),
    max_leaves=4,
)  # fmt: skip

terminations = st.builds(
    Termination,
    step=st.text(max_size=3),
    ended=st.builds(Exit, cause=st.sampled_from(Cause), returncode=st.none(), duration=st.just(0.0)),
)

events = st.lists(
    st.one_of(
        st.tuples(st.just("started")),
        st.tuples(st.just("stopped_step"), terminations),
        st.tuples(st.just("ended"), st.none() | errors),
    ),
    max_size=8,
)


@given(events, st.none() | errors)
def test_job_ends_exactly_once(happened: list[tuple[object, ...]], last: Exception | None) -> None:
    job = JobStatus(id="1")
    finals = []
    for now, event in enumerate([*happened, ("ended", last)]):
        before = job
        match event:
            case ("started",):
                job = state.started(job, now)
            case ("stopped_step", Termination() as termination):
                job = state.stopped_step(job, termination)
            case ("ended", error):
                assert error is None or isinstance(error, Exception)
                job = state.ended(job, error, now)
            case _:
                raise AssertionError(event)
        assert not before.finished or job == before
        finals += [job] if job.finished and not before.finished else []
    assert finals == [job]
    _check(job)


def _check(job: JobStatus) -> None:
    """Check that the fields of a final status are consistent."""
    assert job.status in FINAL
    assert job.end_time is not None
    assert (job.kind is None) == (job.status is Status.SUCCESS) == (job.message == "")
    assert (job.status is Status.CANCELLED) == (job.kind in (ErrorKind.CANCELLED, ErrorKind.TIMEOUT))
    assert job.status is not Status.CANCELLED or job.message.startswith('job "1" cancelled: ')


# A live manager

IDS = ("a", "b")

STEPS = (
    command("true"),
    script("exit 3", "true"),
    shell("trap 'echo trapped; exit 0' TERM; while :; do sleep 0.02; done"),
    shell("trap '' TERM; sleep 1000; true"),
    script("sleep 0.01", "true", "sleep 1000"),
    "not a function",
)

requests = st.lists(
    st.tuples(
        st.sampled_from(["run", "run", "cancel", "close", "follow", "leave"]),
        st.sampled_from(IDS),
        st.sampled_from(STEPS),
    ),
    max_size=12,
)


@settings(max_examples=12)
@given(requests)
def test_manager_leaves_no_resources(asked: list[tuple[str, str, str]]) -> None:
    """It leaves no process, no descriptor and no temporary file."""
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", directory)
        asyncio.run(_ask([]))
        before, children = _descriptors(), psutil.Process().children(recursive=True)
        asyncio.run(_ask(asked))
        assert os.listdir(directory) == []
    assert psutil.Process().children(recursive=True) == children
    assert _descriptors() == before


async def _ask(asked: list[tuple[str, str, str]]) -> None:
    """Send requests without waiting for answers; `leave` cancels the task of an earlier request."""
    manager = JobManager(0.05, os.environ)
    tasks: list[asyncio.Task[None]] = []
    for what, job, steps in asked:
        if what == "leave" and tasks:
            tasks[len(tasks) // 2].cancel()
        tasks.append(asyncio.create_task(_one(manager, what, job, steps)))
        await asyncio.sleep(0.002 * (len(tasks) % 3))
    await manager.shut_down()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [one for one in results if isinstance(one, Exception) and not isinstance(one, StepRunnerError)] == []
    assert manager.all() == []


async def _one(manager: JobManager, what: str, job: str, steps: str) -> None:
    match what:
        case "run":
            await manager.run(RunRequest(id=job, steps=steps, work_dir=tempfile.gettempdir()))
        case "cancel":
            manager.cancel(job)
        case "close":
            await manager.close(job)
        case "follow":
            async for _ in manager.follow(job, 0):
                pass
        case _:
            assert what == "leave"


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
