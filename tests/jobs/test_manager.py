"""The jobs of a server, without the server: faults, races and leftovers that no client can cause at will."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.support.steps import command, script, shell

from gracefulexitcmd import AsyncCmd, AsyncTermination, Cause, EndedProcess, Exit
from step_runner.errors import InputError, StepRunnerError
from step_runner.jobs import job as jobs
from step_runner.jobs.log import JobLog
from step_runner.jobs.workspace import Workspace
from step_runner.model import ErrorKind, RunRequest, Status
from step_runner.runner import exec as execs

if TYPE_CHECKING:
    from collections.abc import Callable

    from step_runner.jobs.manager import JobManager

IGNORES_TERM = "trap '' TERM; sleep 1000 & echo ready; wait"


async def start(manager: JobManager, steps: str, job_id: str = "1", delay: float | None = None) -> str:
    directory = os.environ["TMPDIR"]
    await manager.run(RunRequest(id=job_id, steps=steps, work_dir=directory, graceful_exit_delay=delay))
    return job_id


async def log(manager: JobManager, job_id: str = "1") -> bytes:
    return b"".join([chunk async for chunk in manager.follow(job_id, 0)])


async def ready(manager: JobManager, job_id: str = "1") -> None:
    seen = b""
    async for chunk in manager.follow(job_id, 0):
        seen += chunk
        if b"ready\n" in seen:
            return
    raise AssertionError(seen)


# Starts


LARGE = script(*["true"] * 6000)
"""Large enough that a thread parses it."""


async def test_cancel_of_starting_job_takes_effect(manager: JobManager) -> None:
    starting = asyncio.create_task(start(manager, LARGE))
    await asyncio.sleep(0)
    assert "1" in manager._starting
    manager.cancel("1")
    await starting
    assert b"Running" not in await log(manager)
    assert manager.status("1").status is Status.CANCELLED


async def test_close_of_starting_job_waits_for_it(manager: JobManager) -> None:
    starting = asyncio.create_task(start(manager, LARGE))
    await asyncio.sleep(0)
    assert "1" in manager._starting
    await manager.close("1")
    assert starting.done()
    assert manager.all() == []


# Faults


async def test_end_of_job_waits_for_free_descriptors(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor is free for a while: its background processes are ended afterwards."""
    real, failures = AsyncTermination, [OSError(24, "Too many open files")] * 2

    def fail_at_first(*arguments: Any, **options: Any) -> AsyncTermination:
        if failures:
            raise failures.pop()
        return real(*arguments, **options)

    monkeypatch.setattr(jobs, "AsyncTermination", fail_at_first)
    await start(manager, script("setsid sleep 1000 & echo $!"))
    pid = int((await log(manager)).split()[3])
    assert failures == []
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert manager.status("1").status is Status.SUCCESS


async def test_unclosable_job_keeps_no_other_from_closing(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    await start(manager, script(IGNORES_TERM), "1", delay=0)
    await start(manager, script(IGNORES_TERM), "2", delay=0)
    remove = Workspace.remove

    def fail(workspace: Workspace) -> bool:
        is_first = workspace.directory.endswith("-1")
        removed = remove(workspace)
        if is_first:
            raise ZeroDivisionError
        return removed

    monkeypatch.setattr(Workspace, "remove", fail)
    with pytest.raises(ZeroDivisionError):
        await manager.shut_down()
    assert manager.all() == []


async def test_output_after_end_of_log_is_dropped(manager: JobManager, temporary: str) -> None:
    """A hidden process is spared as long as it may belong to another job, and may write meanwhile."""
    await start(manager, script("echo done"))
    whole = await log(manager)
    descriptor = os.open(f"{temporary}/step-runner-output-1/logs", os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, b"late\n")
    os.close(descriptor)
    assert await log(manager) == whole
    assert [chunk async for chunk in manager.follow("1", len(whole) + 2)] == [b""]


async def test_log_replaced_by_fifo_blocks_no_call(manager: JobManager, temporary: str) -> None:
    """An open of the FIFO would block until it has a writer, and block all other calls."""
    await start(manager, script(f"cd {temporary}/step-runner-output-1 && rm logs && mkfifo logs"))
    await manager.job("1").finished.wait()
    assert await log(manager) == b""


async def test_log_replaced_by_link_is_not_read(manager: JobManager, temporary: str) -> None:
    await start(manager, script(f"cd {temporary}/step-runner-output-1 && rm logs && ln -s /etc/passwd logs"))
    await manager.job("1").finished.wait()
    assert await log(manager) == b""


async def test_removal_of_busy_directory_is_retried(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that cannot be removed yet is removed a moment later."""
    await start(manager, script("true"))
    workspace = manager.job("1")._workspace
    remove, failures = workspace.remove, [False, False]
    monkeypatch.setattr(workspace, "remove", lambda: failures.pop() if failures else remove())
    await manager.close("1")
    assert failures == []


async def test_unremovable_directory_is_named(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    await start(manager, script("true"))
    workspace = manager.job("1")._workspace
    monkeypatch.setattr(jobs, "TRY_AGAIN", 0)
    with monkeypatch.context() as patch:
        patch.setattr(workspace, "remove", lambda: False)
        with pytest.raises(StepRunnerError, match="step-runner-output-1 cannot be removed: remove it by hand"):
            await manager.close("1")
    assert workspace.remove()


@pytest.mark.parametrize("fault", [ZeroDivisionError("by zero"), RecursionError("too deep"), OSError(28, "disk full")])
async def test_crash_inside_step_fails_job(
    manager: JobManager, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(execs, "AsyncCmd", fail)
    await start(manager, script("true"))
    await log(manager)
    ended = manager.status("1")
    assert (ended.status, ended.kind) == (Status.FAILURE, ErrorKind.INTERNAL)
    assert ended.message == f"the step runner failed: {type(fault).__name__}: {fault}"


async def test_unpreparable_job_leaves_nothing(
    manager: JobManager, monkeypatch: pytest.MonkeyPatch, temporary: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("step_runner.jobs.log.JobLog", fail)
    with pytest.raises(OSError, match="No space left"):
        await start(manager, script("true"))
    assert (manager.all(), os.listdir(temporary)) == ([], [])


async def test_stop_reaches_command_with_full_disk(manager: JobManager) -> None:
    await start(manager, script("echo ready; sleep 1000 & wait"))
    await ready(manager)

    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, manager.job("1").log.descriptor, inheritable=False)
    os.close(full)
    manager.cancel("1")
    await manager.job("1").finished.wait()
    assert manager.status("1").status is Status.CANCELLED


async def test_process_that_ended_before_inspection_is_named(
    manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its arguments are empty then."""

    class Ended(AsyncCmd):
        async def wait(self, timeout: float | None = None) -> Exit:  # noqa: ASYNC109 - as it is there
            await super().wait()
            return Exit(Cause.CANCELLED, -9, 1.0, forced=True, census=(EndedProcess(7, (), "group", "SIGKILL"),))

    monkeypatch.setattr(execs, "AsyncCmd", Ended)
    await start(manager, script("true"))
    assert b"Ended 1 process by force: unknown (pid 7)\n" in await log(manager)
    assert manager.status("1").status is Status.CANCELLED


# Cancel and Close


async def test_cancel_before_first_step_starts_nothing(manager: JobManager, temporary: str) -> None:
    await start(manager, shell(f"touch {temporary}/ran"))
    manager.cancel("1")
    assert await log(manager) == b""
    ended = manager.status("1")
    assert ended.message == 'job "1" cancelled: not started because the job was cancelled'
    assert (ended.kind, "ran" in os.listdir(temporary)) == (ErrorKind.CANCELLED, False)


async def test_close_gives_up_on_unkillable_process(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is cancelled and removed after the grace period and half a second, even if a process of it remains."""
    release = asyncio.Event()

    async def never_ends(*_: object) -> None:
        await release.wait()

    monkeypatch.setattr(jobs, "run_root", never_ends)
    await start(manager, script("true"), delay=0.05)
    job = manager.job("1")
    began = time.monotonic()
    await manager.close("1")
    assert 0.5 <= time.monotonic() - began < 15
    assert (job.status.status, job.status.kind) == (Status.CANCELLED, ErrorKind.CANCELLED)
    assert job.status.message == 'job "1" cancelled: closed before its processes had ended'
    release.set()
    assert manager.all() == []


async def test_close_continues_when_its_caller_is_cancelled(manager: JobManager) -> None:
    await start(manager, script(IGNORES_TERM), delay=0.2)
    await ready(manager)
    closing = asyncio.create_task(manager.close("1"))
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    assert [job.id for job in manager.all()] == ["1"]
    await log(manager)
    await manager.close("1")
    assert manager.all() == []


async def test_job_under_removal_has_empty_log(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are removed a moment before its id; a thread removes large ones."""
    removed, go_on = asyncio.Event(), asyncio.Event()

    async def remove_and_wait(function: Callable[[], bool]) -> bool:
        gone = function()
        removed.set()
        await go_on.wait()
        return gone

    await start(manager, script("head -c 2000000 /dev/zero"))
    await log(manager)
    monkeypatch.setattr("step_runner.jobs.job.asyncio.to_thread", remove_and_wait)
    closing = asyncio.create_task(manager.close("1"))
    await removed.wait()
    assert await log(manager) == b""
    go_on.set()
    await closing
    with pytest.raises(InputError, match='no job with id "1"'):
        manager.status("1")


async def test_kill_ends_all_jobs_at_once(manager: JobManager) -> None:
    for job_id in ("1", "2"):
        await start(manager, script(IGNORES_TERM), job_id)
        await ready(manager, job_id)
    began = time.monotonic()
    manager.kill("second Ctrl-C")
    logs = await asyncio.gather(log(manager, "1"), log(manager, "2"))
    assert time.monotonic() - began < 15
    assert all(b"Killed at once: second Ctrl-C\n" in each for each in logs)
    assert {job.termination.ended.hurried for job in manager.all() if job.termination} == {"second Ctrl-C"}
    assert {job.status for job in manager.all()} == {Status.CANCELLED}


async def test_jobs_starting_during_shutdown_are_closed(manager: JobManager) -> None:
    """A thread parses a large text meanwhile. Later jobs are refused."""
    starting = asyncio.create_task(start(manager, script("sleep 1000") + "#" * 100_000))
    await asyncio.sleep(0)
    await manager.shut_down()
    await starting
    assert manager.all() == []
    with pytest.raises(StepRunnerError, match="the server is stopping: it takes no more jobs"):
        await start(manager, script("true"), "2")


async def test_valid_run_starts_after_refused_run_of_same_id(manager: JobManager) -> None:
    """Both requests come at once, and only the second is valid."""
    bad, good = script("true") + "#" * 100_000, script("true")
    bad = bad.replace('"script"', '"skript"')
    results = await asyncio.gather(start(manager, bad), start(manager, good), return_exceptions=True)
    assert isinstance(results[0], InputError)
    assert results[1] == "1"
    assert [job.id for job in manager.all()] == ["1"]


async def test_end_of_job_wakes_all_waiters(manager: JobManager) -> None:
    await start(manager, command("true"))
    job = manager.job("1")
    await asyncio.gather(*(job.finished.wait() for _ in range(5)), log(manager))
    assert job.status.finished


# The log


def written(own: JobLog, content: bytes) -> None:
    """Write these bytes to a log as a step of its own that ends."""
    stream = own.open().stdout
    assert stream.write_end is not None
    os.write(stream.write_end, content)
    stream.let_go()


async def test_runner_lines_begin_on_new_line(temporary: str, manager: JobManager) -> None:
    own = JobLog(f"{temporary}/log")
    own.notice("first")
    written(own, b"partial")
    own.notice("second")
    own.end()
    own.notice("dropped")
    own.end()
    assert b"".join([chunk async for chunk in own.follow(0)]) == b"first\npartial\nsecond\n"


async def test_log_of_running_job_is_followed_without_its_file(temporary: str, manager: JobManager) -> None:
    """A cleaner of the directory for temporary files may have removed it."""
    own = JobLog(f"{temporary}/log")
    own.notice("first")
    os.unlink(f"{temporary}/log")
    following = own.follow(0)
    assert await anext(following) == b"first\n"
    assert await anext(following) == b""
    waiting = asyncio.gather(anext(following))
    own.notice("second")
    assert tuple(await waiting) == (b"second\n",)
    own.end()
    assert [chunk async for chunk in following] == []


async def test_each_write_and_the_end_wake_follower(temporary: str, manager: JobManager) -> None:
    own = JobLog(f"{temporary}/log")
    seen: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def follow() -> None:
        async for chunk in own.follow(0):
            if chunk:
                seen.put_nowait(chunk)
        seen.put_nowait(None)

    following = asyncio.create_task(follow())
    for text in (b"one", b"two"):
        written(own, text)
        assert await seen.get() == text
    own.end()
    assert await seen.get() is None
    await following
