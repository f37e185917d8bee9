"""One job, from its registration until no process or file of it remains."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from gracefulexitcmd import AsyncTermination, Cause, Exit
from step_runner import shown
from step_runner.errors import InternalError, StepRunnerError, StoppedError, causes
from step_runner.jobs import state
from step_runner.jobs.confinement import Confinement
from step_runner.model import JobStatus, Termination
from step_runner.runner import notices
from step_runner.runner.context import Listener, Sink
from step_runner.runner.sequence import run_root

if TYPE_CHECKING:
    from gracefulexitcmd import ManualContainer, SignalSent, Stage
    from step_runner.jobs.workspace import Workspace
    from step_runner.model import Function, StepResult
    from step_runner.proc import Proc
    from step_runner.runner.context import GlobalContext
    from step_runner.runner.masks import Masks

Log = TypeVar("Log", bound=Sink)

CLOSE_PATIENCE = 0.5
"""Seconds that `close` waits for a job beyond the grace period."""


TRY_AGAIN = 0.1
"""Seconds between two attempts to end processes or remove files, when the first fails for lack of descriptors."""

REMOVALS = 20
"""Attempts to remove a job's directory: a process may still create files in it, or no descriptor may be free."""


class Job(Listener, Generic[Log]):
    """A job that runs in the background; `finished` is set once its final status is known.

    `result` and `error` then hold what its steps did and what went wrong. `masks` hide its secrets that are known so
    far.
    """

    def __init__(
        self,
        job_id: str,
        proc: Proc,
        workspace: Workspace,
        log: Log,
        container: ManualContainer,
        masks: Masks,
        listener: Listener,
    ) -> None:
        self.status = JobStatus(id=job_id)
        self.finished = asyncio.Event()
        self.result: StepResult | None = None
        self.error: Exception | None = None
        self.log = log
        self.container = container
        self.masks = masks
        self._confinement = Confinement(self.container)
        self._proc = proc
        self._workspace = workspace
        self._listener = listener
        self._timer: asyncio.TimerHandle | None = None
        self._running: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def start(self, function: Function, context: GlobalContext, timeout: float | None) -> None:
        """Run the function in the background, and stop it after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        self.status = state.started(self.status, time.time())
        if timeout is not None:
            self._timer = loop.call_later(timeout, self._proc.cancel, Cause.TIMEOUT)
        self._running = loop.create_task(self._run(function, context), name=f"job {self.status.id}")

    def cancel(self) -> None:
        """Ask the job to stop. Do nothing when it was asked before or has ended."""
        self._proc.cancel()

    def kill(self, hurried: str | None = None) -> None:
        """Kill all processes of the job without further grace; `hurried` is the reason that the log gives."""
        if hurried is not None and not self.status.finished:
            self._notice(notices.hurried(hurried))
        self._proc.kill(hurried)

    async def close(self) -> None:
        """Stop the job, wait for its end and remove all its files.

        This takes at most the grace period and CLOSE_PATIENCE seconds. Several callers may close the same job: all
        return when it is done. The close goes on even if a caller is cancelled.
        """
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    def step_started(self, names: tuple[str, ...]) -> None:
        """Record the name of the running step."""
        self.status = state.started_step(self.status, names[-1] if names else "")
        self._confinement.step_started()
        self._listener.step_started(names)

    def step_stopping(self, names: tuple[str, ...], grace: float) -> None:
        """Record the seconds until the running step gets SIGKILL."""
        self.status = state.stopping(self.status, time.time() + grace)
        self._listener.step_stopping(names, grace)

    def step_stopped(self, names: tuple[str, ...], ended: Exit) -> None:
        """Record how the running step was stopped."""
        self.status = state.stopped_step(self.status, _termination(names[-1] if names else "", self._masked(ended)))
        self._listener.step_stopped(names, ended)

    async def _run(self, function: Function, context: GlobalContext) -> None:
        try:
            self.result, _, self.error = await run_root(function, context)
        except StepRunnerError as error:
            self.error = error
        except Exception as fault:
            self.error = InternalError(f"the step runner failed: {type(fault).__name__}: {fault}")
            self.error.__cause__ = fault
        _forget_frames(self.error)
        await self._confinement.end()
        while not await self._has_ended_processes():  # noqa: ASYNC110 - no event tells when a descriptor is free
            await asyncio.sleep(TRY_AGAIN)
        if sys.platform == "win32":  # only the loop can read the pipes on Windows: ending the log reads nothing
            await self.log.settle()
        self._finish(self.error)

    async def _has_ended_processes(self) -> bool:
        """Return whether no process remains; False when no descriptor or thread was free to find out."""
        try:
            await self._end_processes()
        except (OSError, RuntimeError):
            return False
        self.container.close()
        return True

    async def _end_processes(self) -> None:
        """Stop background processes. They may outlive their step, but not the job."""
        if not self.container.surely_empty():
            termination = AsyncTermination(self.container, self._proc.time_left, stopping=self._note_stop)
            self.status = state.stopping(state.started_step(self.status, ""), time.time() + self._proc.time_left)
            termination.begin()
            with self._proc.listening(lambda grace: termination.cancel(grace=grace, hurried=self._proc.hurried)):
                self._note_end(await termination.wait())

    def _note_stop(self, sent: SignalSent, ahead: tuple[Stage, ...]) -> None:
        for line in notices.stopping_left_behind(sent, ahead):
            self._notice(line)

    def _note_end(self, ended: Exit) -> None:
        for line in notices.ended(ended):
            self._notice(line)
        if ended.census:
            self.status = state.stopped_step(self.status, self._termination(self._masked(ended)))

    def _termination(self, ended: Exit) -> Termination:
        """Return the record of stopped background processes, merged with that of the stopped step if there is one."""
        before = self.status.termination
        if before is None:
            return _termination("", ended.replace(cause=self._proc.cause or Cause.EXITED))
        return state.extended(before, ended)

    def _notice(self, line: str) -> None:
        self.log.notice(shown.name(self.masks.hidden(line)))

    def _masked(self, ended: Exit) -> Exit:
        """Return the record with the secrets masked in the arguments of processes."""
        census = (process.replace(argv=tuple(map(self.masks.hidden, process.argv))) for process in ended.census)
        return ended.replace(census=tuple(census))

    def _finish(self, error: Exception | None) -> None:
        """Set the final status, then end the log: a client that has read the log to its end asks for the status."""
        ended = state.ended(self.status, error, time.time())
        self.status = msgspec.structs.replace(ended, message=shown.message(self.masks.hidden(ended.message)))
        if self._timer is not None:
            self._timer.cancel()
        self._proc.cancel(Cause.EXITED)
        self.finished.set()
        self.log.end()

    async def _close(self) -> None:
        self.cancel()
        try:
            async with asyncio.timeout(self._proc.graceful_exit_delay + CLOSE_PATIENCE):
                await self.finished.wait()
        except TimeoutError:
            self.kill()
            self._finish(StoppedError("closed before its processes had ended"))
        for _ in range(REMOVALS):
            if await self._removed():
                return
            await asyncio.sleep(TRY_AGAIN)
        raise InternalError(f"the directory {self._workspace.directory} cannot be removed: remove it by hand")

    async def _removed(self) -> bool:
        if not self._workspace.is_small():
            with contextlib.suppress(RuntimeError):  # no thread can start: the user has reached the limit of processes
                return await asyncio.to_thread(self._workspace.remove)
        return self._workspace.remove()


def _termination(step: str, ended: Exit) -> Termination:
    """Return the record of an Exit that happened just now."""
    return Termination(step=step, ended=ended, start_time=time.time() - ended.duration)


def _forget_frames(error: Exception | None) -> None:
    """Remove the frames from an error: they refer to the step's context, that to the job, and the job to the error."""
    for cause in causes(error) if error is not None else ():
        cause.__traceback__ = cause.__context__ = None
