"""One run of a command on Windows: its job, its pipes, its container."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from functools import partial
from typing import TYPE_CHECKING

from gracefulexitcmd.exit import Cause, Exit, Holder
from gracefulexitcmd.ladder import Event, Ladder
from gracefulexitcmd.windows import calls, process
from gracefulexitcmd.windows.job import JobObject
from gracefulexitcmd.windows.members import Members
from gracefulexitcmd.windows.pipes import Ends, Feed, Pipe, pipe_to_read, pipe_to_write
from gracefulexitcmd.windows.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Callable

    from gracefulexitcmd.request import Request

SUSPENDED = 0x4
"""CREATE_SUSPENDED."""


class CommandRun:
    """What there is only while a command runs: a job of its own, inside that of its container if it has one."""

    def __init__(self, request: Request, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._status: int | None = None
        self._holders: tuple[Holder, ...] = ()
        self._running = False
        self.stop_signal = request.stop_signal
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
            self._started_at = time.monotonic()
            self._handle = process.open_leader(self.pid)
            undo.callback(calls.close_handle, self._handle)
            self._enclose()
            calls.resume_process(self._handle)
            undo.pop_all()
        self._running = True
        self.members = self._members(tuple(os.fspath(word) for word in request.argv))
        self.poller.watch(self._handle, self._leader_exited)
        self._connect(ours, request.input)

    def __del__(self) -> None:
        # Nobody waited for the end. The job is closed as well, which ends the command.
        if self._running:
            self.members.forget()
            self.poller.close()
            calls.close_handle(self._handle)

    def abandon_output(self) -> None:
        """Take what was written so far; one of those who are left of the command holds the output."""
        for pipe in self.open_pipes:
            pipe.read()
        if not all(pipe.closed for pipe in self.open_pipes):
            self._holders = tuple(Holder(pid, argv) for pid, argv in self.members.left())

    def end(self, ladder: Ladder) -> Exit:
        """Give back everything that was held, and say what happened."""
        self._running = False
        self.members.forget()
        self._close_feed()
        for pipe in self._pipes.values():
            pipe.finish()
        self._let_go(ladder.cause)
        self.poller.close()
        return Exit(
            cause=ladder.cause,
            status=self._status,
            duration=time.monotonic() - self._started_at,
            forced=self.members.forced,
            signals=tuple(self.members.signals),
            census=self.members.census(),
            holders=self._holders,
            stdout=self._content("stdout"),
            stderr=self._content("stderr"),
        )

    def _enclose(self) -> None:
        """Put the command into its jobs; it is suspended until then, so that nothing can be born outside."""
        if self._container is not None:
            self._container.started(self.pid, self._handle)
        self._job.assign(self._handle)

    def _members(self, argv: tuple[str, ...]) -> Members:
        return Members(
            self._job,
            {self.pid: argv},
            lambda: (self.pid,),
            self.poller,
            changed=partial(self._tell, Event.LOOK_DUE),
            unreachable=partial(self._tell, Event.UNREACHABLE),
        )

    def _connect(self, ours: dict[str, int], content: bytes | None) -> None:
        self._feed: Feed | None = None
        if content is not None:
            self._feed = Feed(ours["stdin"], content)
            self.poller.watch(self._feed.event, self._write)
        self._pipes = {name: Pipe(handle) for name, handle in ours.items() if name != "stdin"}
        self.open_pipes = set(self._pipes.values())
        for pipe in self.open_pipes:
            self.poller.watch(pipe.event, partial(self._read, pipe))

    def _let_go(self, cause: Cause) -> None:
        """Close the job; what a command that has ended by itself left in the background lives on."""
        if not self._job.processes():
            if self._container is not None:
                self._container.ended(self.pid)
        elif cause is Cause.EXITED:
            self._job.release()
        self._job.close()
        self._process.poll()
        calls.close_handle(self._handle)

    def _leader_exited(self) -> None:
        self.poller.forget(self._handle)
        self._status = self._process.wait()
        self._tell(Event.LEADER_EXITED)

    def _read(self, pipe: Pipe) -> None:
        pipe.read()
        if pipe.closed:
            self.poller.forget(pipe.event)
            self.open_pipes.discard(pipe)
            if not self.open_pipes:
                self._tell(Event.OUTPUT_CLOSED)

    def _write(self) -> None:
        if self._feed is not None and self._feed.write():
            self._close_feed()

    def _close_feed(self) -> None:
        if self._feed is not None:
            self.poller.forget(self._feed.event)
            self._feed.close()
            self._feed = None

    def _content(self, name: str) -> bytes | None:
        return self._pipes[name].content if name in self._pipes else None


def _spawn(request: Request) -> tuple[subprocess.Popen[bytes], dict[str, int]]:
    """Start the command, suspended, in a console group of its own; returns our ends of its pipes by name."""
    made: dict[str, Ends] = {}
    try:
        if request.input is not None:
            made["stdin"] = pipe_to_write()
        for name, stream in (("stdout", request.stdout), ("stderr", request.stderr)):
            if stream == subprocess.PIPE:
                made[name] = pipe_to_read()
        started = subprocess.Popen(
            [os.fspath(word) for word in request.argv],
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
    """End a command that cannot be looked after; nothing but its own start can have failed."""
    started.kill()
    started.wait()
