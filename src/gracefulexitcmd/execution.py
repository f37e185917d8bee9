"""One command from start to end: tells the ladder what happens and does what the ladder says.

Nothing here waits. Whoever drives it waits until the poller is ready or `deadline` has come, then calls `advance`;
a blocking caller and an event loop do the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, assert_never

from gracefulexitcmd import linux, posix
from gracefulexitcmd.exit import Exit, Holder
from gracefulexitcmd.ladder import Action, Event, Ladder, Phase
from gracefulexitcmd.members import Members
from gracefulexitcmd.output import Feed, Pipe
from gracefulexitcmd.poller import Poller
from gracefulexitcmd.request import check_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gracefulexitcmd.exit import SignalSent
    from gracefulexitcmd.ladder import Step
    from gracefulexitcmd.poller import Ready
    from gracefulexitcmd.request import Request


class Execution:
    """The running of one request; every method may be called from any thread and none waits."""

    def __init__(self, request: Request) -> None:
        self.exit: Exit | None = None
        self._request = request
        self._ladder = Ladder(grace=request.grace, timeout=request.timeout)
        self._lock = threading.Lock()
        self._afterwards = _Afterwards(self._serve_stops)
        self._stops: deque[float] = deque()
        self._run: _Run | None = None

    @property
    def pid(self) -> int | None:
        """The number of the command's leader, and of its process group; None before the start."""
        return None if self._run is None else self._run.group.pid

    @property
    def signals(self) -> tuple[SignalSent, ...]:
        """What the command has been sent so far."""
        return () if self._run is None else tuple(self._run.members.signals)

    @property
    def deadline(self) -> float | None:
        """When `advance` has something to do even if nothing happens, on the monotonic clock."""
        look_at = None if self._run is None else self._run.members.look_at
        return min((at for at in (self._ladder.deadline, look_at) if at is not None), default=None)

    def start(self) -> None:
        """Start the command, unless it was stopped before.

        Raises OSError where it cannot be started, RuntimeError when it was started before.
        """
        with self._afterwards, self._lock:
            if self.exit is not None and self._run is None:
                return
            if self._run is not None:
                raise RuntimeError("this command was started before: make a new one")
            self._run = _Run(self._request, self._tell)
            self._ladder = self._ladder.started(time.monotonic(), output=bool(self._run.open_pipes))

    def stop(self, grace: float | None) -> None:
        """Send the stop signal now, and SIGKILL after `grace` seconds; stopping again can only shorten that.

        Raises ValueError where `grace` is not a time.
        """
        check_seconds("grace", grace)
        self._stops.append(self._request.grace if grace is None else grace)
        self._serve_stops()

    def enter(self) -> Poller | None:
        """The poller to wait for, open until `leave`; None when there is nothing to wait for any more.

        Raises RuntimeError before the start.
        """
        with self._afterwards, self._lock:
            if self.exit is not None:
                return None
            if self._run is None:
                raise RuntimeError("this command was not started yet: call start first")
            self._run.poller.enter()
            return self._run.poller

    def leave(self) -> None:
        """Say that one of those who entered does not wait any more."""
        with self._afterwards, self._lock:
            assert self._run is not None
            self._run.poller.leave()

    def advance(self, ready: Ready) -> None:
        """Do what is due, given what the poller said is ready."""
        with self._afterwards, self._lock:
            if self._run is None or self.exit is not None:
                return
            self._run.poller.react(ready)
            if self.exit is None:
                self._tell_the_time(self._run, time.monotonic())

    def _serve_stops(self) -> None:
        while self._stops and self._lock.acquire(blocking=False):
            try:
                self._stopped(self._stops.popleft())
            finally:
                self._lock.release()

    def _stopped(self, grace: float) -> None:
        if self.exit is None:
            self._count_first()
            self._apply(self._ladder.stopped(time.monotonic(), grace))
            if self._run is not None:
                self._run.poller.wake()

    def _tell_the_time(self, run: _Run, now: float) -> None:
        if run.members.look_at is not None and now >= run.members.look_at:
            self._tell(Event.LOOK_DUE)
        if self._ladder.deadline is not None and now >= self._ladder.deadline:
            self._count_first()
            self._tell(Event.DEADLINE_REACHED)

    def _count_first(self) -> None:
        # It takes a while, and the grace begins only when the signal is sent.
        if self._run is not None and self._ladder.phase in (Phase.RUNNING, Phase.DRAINING):
            self._run.members.count(leader_alive=self._ladder.leader_gone is None)

    def _tell(self, event: Event) -> None:
        self._apply(self._ladder.after(event, time.monotonic()))

    def _apply(self, step: Step) -> None:
        self._ladder, actions = step
        for action in actions:
            self._perform(action)
        if self._ladder.phase is Phase.ENDED and self.exit is None:
            self._end()

    def _perform(self, action: Action) -> None:
        assert self._run is not None
        match action:
            case Action.TERMINATE:
                self._run.members.terminate(self._request.stop_signal)
            case Action.KILL:
                self._run.members.kill()
            case Action.LOOK:
                self._look(self._run)
            case Action.ABANDON_OUTPUT:
                self._run.abandon_output()
            case _:
                assert_never(action)

    def _look(self, run: _Run) -> None:
        if not run.members.watch(kill=self._ladder.phase is Phase.KILLING):
            self._tell(Event.SET_EMPTY)

    def _end(self) -> None:
        if self._run is None:
            self.exit = Exit(cause=self._ladder.cause, status=None, duration=0.0)
        else:
            self.exit = self._run.end(self._ladder)


class _Afterwards:
    """What whoever holds the lock does after letting go of it: look after the stops that came meanwhile.

    A stop never waits for the lock, because a signal handler may interrupt the very thread that holds it. The lock
    is taken by `with` itself, so that no exception from a handler can come between taking it and giving it back.
    """

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._then()


class _Run:
    """What there is only while a command runs: its group, its pipes, and who waits for them."""

    def __init__(self, request: Request, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._status: int | None = None
        self._holders: tuple[Holder, ...] = ()
        self._running = False
        with contextlib.ExitStack() as undo:
            process, pipes = _spawn(request)
            undo.callback(_close, pipes.values())
            undo.callback(_kill, process)
            self._started_at = time.monotonic()
            self.poller = Poller()
            undo.callback(self.poller.close)
            self.group = posix.open_group(process)
            undo.callback(self.group.close)
            self.members = Members(self.group, self.poller, partial(tell, Event.LOOK_DUE))
            self.poller.watch(self.group.exit_descriptor, self._leader_exited)
            self._connect(pipes, request.input)
            undo.pop_all()
        self._running = True

    def _connect(self, pipes: dict[str, int], content: bytes | None) -> None:
        self._feed: Feed | None = None
        if content is not None:
            self._feed = Feed(pipes["stdin"], content)
            self.poller.watch(self._feed.descriptor, self._write, write=True)
        self._pipes = {name: Pipe(descriptor) for name, descriptor in pipes.items() if name != "stdin"}
        self.open_pipes = set(self._pipes.values())
        for pipe in self.open_pipes:
            self.poller.watch(pipe.descriptor, partial(self._read, pipe))

    def __del__(self) -> None:
        # Nobody waited for the end; Popen warns of that. Descriptors are closed and nothing else: a forked process
        # has a copy of this, and what it would read or unregister is its parent's.
        if self._running:
            _close(self._descriptors())

    def abandon_output(self) -> None:
        """Take what was written so far, and name who could write more."""
        for pipe in self.open_pipes:
            pipe.read()
        inodes = [pipe.inode for pipe in self.open_pipes if not pipe.closed]
        if inodes and sys.platform == "linux":
            with contextlib.suppress(OSError):
                self._holders = tuple(Holder(pid, linux.argv(pid)) for pid in linux.holders(inodes))

    def end(self, ladder: Ladder) -> Exit:
        """Give back everything that was held, and say what happened."""
        self._running = False
        self.members.forget()
        self._close_feed()
        for pipe in self._pipes.values():
            pipe.finish()
        self.group.close()
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

    def _leader_exited(self) -> None:
        self.poller.forget(self.group.exit_descriptor)
        self._status = self.group.collect()
        self._tell(Event.LEADER_EXITED)

    def _read(self, pipe: Pipe) -> None:
        pipe.read()
        if pipe.closed:
            self.poller.forget(pipe.descriptor)
            self.open_pipes.discard(pipe)
            if not self.open_pipes:
                self._tell(Event.OUTPUT_CLOSED)

    def _write(self) -> None:
        if self._feed is not None and self._feed.write():
            self._close_feed()

    def _close_feed(self) -> None:
        if self._feed is not None:
            self.poller.forget(self._feed.descriptor)
            os.close(self._feed.descriptor)
            self._feed = None

    def _descriptors(self) -> list[int]:
        feed = [] if self._feed is None else [self._feed.descriptor]
        pipes = [pipe.descriptor for pipe in self._pipes.values()]
        return [*feed, *pipes, *self.members.descriptors, *self.poller.descriptors, self.group.exit_descriptor]

    def _content(self, name: str) -> bytes | None:
        return self._pipes[name].content if name in self._pipes else None


def _spawn(request: Request) -> tuple[subprocess.Popen[bytes], dict[str, int]]:
    """Start the command in a process group of its own; returns our ends of its pipes by name."""
    ours: dict[str, int] = {}
    theirs: dict[str, int] = {}
    try:
        if request.input is not None:
            theirs["stdin"], ours["stdin"] = os.pipe()
        for name, stream in (("stdout", request.stdout), ("stderr", request.stderr)):
            if stream == subprocess.PIPE:
                ours[name], theirs[name] = os.pipe()
        process = subprocess.Popen(
            [os.fspath(word) for word in request.argv],
            env=request.env,
            cwd=request.cwd,
            stdin=theirs.get("stdin", request.stdin),
            stdout=theirs.get("stdout", request.stdout),
            stderr=theirs.get("stderr", request.stderr),
            process_group=0,
        )
    except BaseException:
        _close(ours.values())
        raise
    finally:
        _close(theirs.values())
    return process, ours


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a command that cannot be looked after; nothing but its own start can have failed."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
