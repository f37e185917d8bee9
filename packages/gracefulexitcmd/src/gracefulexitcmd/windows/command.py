"""One run of a command on Windows: its job, its pipes, its container."""

from __future__ import annotations

import contextlib
import os
import subprocess

from gracefulexitcmd.exit import Cause, Holder
from gracefulexitcmd.ladder import Event
from gracefulexitcmd.streams import Streams
from gracefulexitcmd.windows import calls, process
from gracefulexitcmd.windows.job import JobObject
from gracefulexitcmd.windows.pipes import Ends, Feed, Pipe, pipe_to_read, pipe_to_write
from gracefulexitcmd.windows.poller import Poller
from gracefulexitcmd.windows.program import command_line
from gracefulexitcmd.windows.teardown import Teardown

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable

    from gracefulexitcmd.request import Request

SUSPENDED = 0x4
"""CREATE_SUSPENDED."""


class CommandRun:
    """The resources of a running command: its own job, nested in the job of its container if it has one."""

    _running = False

    def __init__(self, request: Request, report: Callable[[Event], None]) -> None:
        self.status: int | None = None
        self._report = report
        self._container = request.container
        with contextlib.ExitStack() as undo:
            self._job = JobObject()
            undo.callback(self._job.close)
            self.poller = Poller()
            undo.callback(self.poller.close)
            self._process, ours = _spawn(request)
            self.pid = self._process.pid
            undo.callback(_close, ours)
            undo.callback(_kill, self._process)
            self._handle = process.open_leader(self.pid)
            undo.callback(calls.close_handle, self._handle)
            self._enclose()
            calls.resume_process(self._handle)
            undo.pop_all()
        self._running = True
        leader = {self.pid: tuple(os.fspath(word) for word in request.argv)}
        self.teardown = Teardown(self._job, leader, lambda: (self.pid,), self.poller, report)
        self.poller.watch(self._handle, self._leader_exited)
        self.streams = self._streams(ours, request)

    def __del__(self) -> None:
        # The caller has not waited for the end. The job is closed as well, which ends the command.
        if self._running:
            self.teardown.forget()
            self.poller.close()
            calls.close_handle(self._handle)

    def send(self, number: int) -> bool:
        """Return False: Windows has no signal but the break, which asks to stop."""
        return False

    def holders(self) -> tuple[Holder, ...]:
        """Read the output so far; return the remaining processes, as one of them may still hold an open pipe."""
        return tuple(Holder(pid, argv) for pid, argv in self.teardown.left()) if self.streams.read() else ()

    def let_go(self, cause: Cause) -> None:
        """Close the job; if the command has ended by itself, its background processes continue."""
        self._running = False
        if not self._job.processes():
            if self._container is not None:
                self._container.ended(self.pid)
        elif cause is Cause.EXITED:
            self._job.release()
        self._job.close()
        self._process.poll()
        del self._process  # else its handle stays open until the next garbage collection
        calls.close_handle(self._handle)

    def _enclose(self) -> None:
        """Assign the command to its jobs; it is suspended until then, so that no child can start outside them."""
        if self._container is not None:
            self._container.started(self.pid, self._handle)
        self._job.assign(self._handle)

    def _streams(self, ours: dict[str, int], request: Request) -> Streams:
        feed = Feed(ours["stdin"], request.content) if request.feeds else None
        pipes = {name: Pipe(handle, request.max_output) for name, handle in ours.items() if name != "stdin"}
        return Streams(self.poller, self._report, pipes, feed)

    def _leader_exited(self) -> None:
        self.poller.forget(self._handle)
        self.status = self._process.wait()
        self._report(Event.LEADER_EXITED)


def _spawn(request: Request) -> tuple[subprocess.Popen[bytes], dict[str, int]]:
    """Start the command, suspended, in its own console group; return it and our ends of its pipes by name."""
    made: dict[str, Ends] = {}
    try:
        if request.feeds:
            made["stdin"] = pipe_to_write()
        for name, stream in (("stdout", request.stdout), ("stderr", request.stderr)):
            if stream == subprocess.PIPE:
                made[name] = pipe_to_read()
        started = subprocess.Popen(
            command_line(request.argv, request.cwd, request.env),
            env=request.env,
            cwd=request.cwd,
            stdin=made["stdin"].theirs if "stdin" in made else request.stdin,
            stdout=made["stdout"].theirs if "stdout" in made else request.stdout,
            stderr=made["stderr"].theirs if "stderr" in made else request.stderr,
            creationflags=subprocess.CREATE_NEW_PROCESS_GROUP | SUSPENDED,
        )
    except BaseException:
        _close({name: ends.ours for name, ends in made.items()})
        raise
    finally:
        for ends in made.values():
            os.close(ends.theirs)
    return started, {name: ends.ours for name, ends in made.items()}


def _close(handles: dict[str, int]) -> None:
    for handle in handles.values():
        calls.close_handle(handle)


def _kill(started: subprocess.Popen[bytes]) -> None:
    """Kill and reap a command that cannot be supervised, after a failure in its start."""
    started.kill()
    started.wait()
