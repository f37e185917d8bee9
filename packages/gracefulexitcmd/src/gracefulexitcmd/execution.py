"""Runs a command or container from start to end: passes events to the ladder and performs its actions.

Only `is_readable` blocks. The driver waits until the poller is ready or `deadline` is reached, then calls `advance`. A
blocking caller and an event loop drive it in the same way.
"""

from __future__ import annotations

import threading
from collections import deque

from gracefulexitcmd import clock
from gracefulexitcmd.duration import check_seconds
from gracefulexitcmd.exit import Exit
from gracefulexitcmd.ladder import Action, Event, Ladder, Phase
from gracefulexitcmd.sequence import To
from gracefulexitcmd.typed import Protocol, assert_never

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gracefulexitcmd.exit import Cause, Holder, SignalSent
    from gracefulexitcmd.ladder import Step
    from gracefulexitcmd.request import Stopping
    from gracefulexitcmd.streams import Streams
    from gracefulexitcmd.system import Poller, Ready, Teardown
    from gracefulexitcmd.text import Text


class Execution:
    """One run from start to end; every method may be called from any thread, and only `is_readable` blocks."""

    def __init__(
        self,
        ladder: Ladder,
        begin: Callable[[Callable[[Event], None]], Run],
        *,
        may_be_skipped: bool = True,
        stopping: Stopping | None = None,
        argv: tuple[str, ...] = (),
        text: Text | None = None,
    ) -> None:
        """Prepare the run.

        With `may_be_skipped` a stop before the start prevents the start, else it only shortens the grace period.
        """
        self.exit: Exit[Any] | None = None
        self.undecodable: UnicodeError | None = None
        """The reason why the output cannot be decoded as requested; the Exit then has it with escapes."""
        self._may_be_skipped = may_be_skipped
        self._stopping = stopping
        self._argv = argv
        self._text = text
        self._grace = ladder.grace
        self._ladder = ladder
        self._begin = begin
        self._lock = threading.Lock()
        self._advancing = False
        self._stops: deque[tuple[float, str | None]] = deque()
        self._run: Run | None = None
        self._holders: tuple[Holder, ...] = ()

    def __enter__(self) -> None:
        """Do nothing: the `with` statement takes the lock itself, after this.

        No exception of a handler can then come between its acquisition and release.
        """

    def __exit__(self, *_: object) -> None:
        """Serve the stop requests that arrived while the lock was held, after its release.

        A stop never waits for the lock, because a signal handler may interrupt the very thread that holds it.
        """
        if self._stops:
            self._serve_stops()

    @property
    def pid(self) -> int | None:
        """The pid of the command's leader, which is also its process group; None before the start."""
        return None if self._run is None else self._run.pid

    @property
    def signals(self) -> tuple[SignalSent, ...]:
        """The signals that the command has been sent so far."""
        return () if self._run is None else tuple(self._run.teardown.signals)

    @property
    def deadline(self) -> float | None:
        """The time at which `advance` must be called without an event, in seconds of the monotonic clock."""
        scan_at = None if self._run is None else self._run.teardown.scan_at
        deadline = self._ladder.deadline
        if deadline is None or scan_at is None:
            return scan_at if deadline is None else deadline
        return min(deadline, scan_at)

    def start(self) -> None:
        """Start the command, unless it was stopped before.

        Raise OSError if it cannot be started, and RuntimeError if it was started before.
        """
        with self, self._lock:
            self._start()

    def stop(self, grace: float | None, hurried: str | None = None) -> None:
        """Send the stop signal now, and SIGKILL after `grace` seconds; a second stop can only shorten that.

        `hurried` is the reason if it is shortened. Raise ValueError if `grace` is not a time.
        """
        check_seconds("grace", grace)
        self._stops.append((self._grace if grace is None else grace, hurried))
        self._serve_stops()

    def send(self, number: int) -> bool:
        """Send any signal to the command's process group; return False if no process is there to get it.

        It never blocks, so return False, too, while another thread holds the lock.
        """
        with self:
            if not self._lock.acquire(blocking=False):
                return False
            try:
                return self._run is not None and self.exit is None and self._run.send(number)
            finally:
                self._lock.release()

    def terminate_all(self) -> None:
        """Start and stop a run that has no leader to wait for: it ends as soon as no process is left."""
        if self._run is None:
            self.start()
        self.stop(None)
        with self, self._lock:
            if self.exit is None:
                self._report(Event.LEADER_EXITED)

    def enter(self, *, begin: bool = False) -> Poller | None:
        """Return the poller to wait for, which stays open until `leave`; None if the run has ended.

        With `begin` start the command first, as `start` does, else raise RuntimeError before the start.
        """
        with self, self._lock:
            if begin:
                self._start()
            if self.exit is not None:
                return None
            poller = self._started().poller
            poller.enter()
            return poller

    def leave(self) -> None:
        """Note that one caller of `enter` does not wait any more."""
        with self, self._lock:
            assert self._run is not None
            self._run.poller.leave()

    def advance(self, ready: Ready) -> None:
        """Perform the actions that are due, given the ready descriptors of the poller; the caller has entered."""
        with self, self._lock:
            if self._run is None or self.exit is not None:
                return
            self._advancing = True
            try:
                self._run.poller.react(ready)
                if self.exit is None:
                    self._check_time(self._run, clock.now())
            finally:
                self._advancing = False

    def refresh(self) -> None:
        """Perform the actions that are due now; do nothing while another thread holds the lock."""
        with self:
            if not self._lock.acquire(blocking=False):
                return
            try:
                if self._run is not None and self.exit is None:
                    self._run.poller.react(self._run.poller.wait(0))
                if self._run is not None and self.exit is None:
                    self._check_time(self._run, clock.now())
            finally:
                self._lock.release()

    def take(self, name: str, buffer: memoryview, then: Callable[[], object] | None = None) -> int | None:
        """Fill a buffer from the command's stdout or stderr, which must be a pipe; return the number of bytes.

        Return 0 at its end. Return None if there are no bytes now: a given `then` is called with the lock held when
        there are. Raise RuntimeError before the start.
        """
        with self, self._lock:
            return self._started().streams.take(name, buffer, then)

    def wake_others(self) -> None:
        """Wake every other thread that waits for the poller; the lock must be held."""
        assert self._run is not None
        self._run.poller.wake_others()

    def give(self, content: bytes, then: Callable[[], object] | None = None) -> bool:
        """Write bytes to the command's stdin, which must be a pipe; return False if the command must read first.

        `then` is as in `take`. Raise BrokenPipeError if the command does not read any more, and RuntimeError before
        the start.
        """
        with self, self._lock:
            run = self._started()
            if self.exit is not None:
                raise BrokenPipeError("the command has ended")
            return run.streams.give(content, then or run.poller.wake_others)

    def end_input(self) -> None:
        """Close the command's stdin after all given bytes have been written."""
        with self, self._lock:
            if self._run is not None and self.exit is None:
                self._run.streams.end_input()

    def collect(self) -> None:
        """Collect the command's output from now on, even if callers took it before."""
        with self, self._lock:
            if self._run is not None and self.exit is None:
                self._run.streams.collect()

    @property
    def is_ending(self) -> bool:
        """Whether its output was read to the end: the kernel closes files of a process a moment before it has ended."""
        return self.exit is None and self._run is not None and self._run.streams.ended

    def is_readable(self, name: str, within: float) -> bool:
        """Wait for bytes in a pipe for `within` seconds, not past the deadline; return False if none can be read."""
        deadline = self.deadline
        if deadline is not None:
            within = min(within, deadline - clock.now())
        run = self._run
        return run is not None and within > 0 and run.streams.is_readable(name, within)

    def _start(self) -> None:
        if self.exit is not None and self._run is None:
            return
        if self._run is not None:
            raise RuntimeError("this command was already started: make a new one")
        run = self._begin(self._report)
        self._ladder = self._ladder.started(clock.now(), output=bool(run.streams))
        self._run = run

    def _started(self) -> Run:
        if self._run is None:
            raise RuntimeError("this command was not started yet: call start first")
        return self._run

    def _serve_stops(self) -> None:
        while self._stops and self._lock.acquire(blocking=False):
            try:
                self._stopped(*self._stops.popleft())
            finally:
                self._lock.release()

    def _stopped(self, grace: float, hurried: str | None) -> None:
        if self._run is None and not self._may_be_skipped:
            self._grace = min(self._grace, grace)
            self._ladder = self._ladder._replace(hurried=self._ladder.hurried or hurried)
            return
        if self._run is not None and self.exit is None:  # a command that has ended by itself was not stopped
            self._run.poller.react(self._run.poller.wait(0))
        if self.exit is None:
            self._count_first()
            self._apply(self._ladder.stopped(clock.now(), grace, hurried=hurried))
            if self._run is not None:
                self._run.poller.wake()

    def _check_time(self, run: Run, now: float) -> None:
        if run.teardown.scan_at is not None and now >= run.teardown.scan_at:
            self._report(Event.SCAN_DUE)
        if self._ladder.deadline is not None and now >= self._ladder.deadline:
            self._count_first()
            self._report(Event.DEADLINE_REACHED)

    def _count_first(self) -> None:
        # Counting takes time, so do it before the signal: the grace period begins when the signal is sent.
        if self._run is not None and self._ladder.phase in (Phase.RUNNING, Phase.DRAINING):
            # A container has no leader, so its pid is 0.
            leader_alive = self._run.pid != 0 and self._ladder.leader_gone is None
            self._run.teardown.count(quickly=leader_alive and To.LEADER in self._ladder.ahead[0].to)

    def _report(self, event: Event) -> None:
        self._apply(self._ladder.after(event, clock.now()))

    def _apply(self, step: Step) -> None:
        self._ladder, actions = step
        for action in actions:
            self._perform(action)
        if self._ladder.phase is Phase.ENDED and self.exit is None:
            self._end()

    def _perform(self, action: Action) -> None:
        assert self._run is not None
        match action:
            case Action.SIGNAL:
                began, is_first = clock.now(), self._ladder.at == 0
                self._terminate(self._run)
                if is_first:
                    self._ladder = self._ladder.extend_grace(clock.now() - began)
            case Action.SIGNAL_LATE:
                self._run.teardown.signal_late()
            case Action.KILL:
                self._run.teardown.kill()
            case Action.SCAN:
                self._scan(self._run)
            case Action.SCAN_ORPHANS:
                self._scan_orphans(self._run)
            case Action.ABANDON_OUTPUT:
                self._holders = self._run.holders()
            case _:
                assert_never(action)

    def _terminate(self, run: Run) -> None:
        stage, *_ = ahead = self._ladder.ahead
        if self._ladder.at:
            run.teardown.scan()
        sent = run.teardown.next_signal(stage)
        reached = sent.processes > 0 or (self._ladder.leader_gone is None and To.LEADER in stage.to)
        if stage.to != To.ALL and not reached:
            self._report(Event.RECEIVERS_GONE)
            return
        if self._stopping is not None and self._ladder.deadline is not None:
            left = max(0.0, self._ladder.deadline - clock.now())
            self._stopping(sent, (stage._replace(wait=left), *ahead[1:]))
        run.teardown.terminate(stage)

    def _scan_orphans(self, run: Run) -> None:
        if run.teardown.scan():
            self._apply(self._ladder.stopped(clock.now(), self._grace))
        else:
            self._report(Event.SET_EMPTY)

    def _scan(self, run: Run) -> None:
        if not run.teardown.watch(kill=self._ladder.phase is Phase.KILLING):
            self._report(Event.SET_EMPTY)
        elif not run.teardown.receivers_alive:
            self._report(Event.RECEIVERS_GONE)

    def _end(self) -> None:
        if self._run is None:
            self.exit = Exit(cause=self._ladder.cause, returncode=None, duration=0.0, argv=self._argv)
        else:
            self.exit = self._ended(self._run)
        # The rest is a reference cycle, freed only by the garbage collector: it must not keep the caller's objects.
        self._stopping = None
        del self._begin

    def _ended(self, run: Run) -> Exit[Any]:
        """Release all resources and return the Exit."""
        run.teardown.forget()
        run.streams.finish()
        run.let_go(self._ladder.cause)
        run.poller.close(by_waiter=self._advancing)
        return Exit(
            cause=self._ladder.cause,
            returncode=run.status,
            duration=clock.now() - run.teardown.started_at,
            **run.teardown.record(),
            holders=self._holders,
            hurried=self._ladder.hurried,
            **run.streams.record(self._decoded),
            argv=self._argv,
        )

    def _decoded(self, content: bytes) -> bytes | str:
        if self._text is None:
            return content
        try:
            return self._text.decode(content)
        except UnicodeError as error:
            self.undecodable = self.undecodable or error
            return content.decode(self._text.encoding, "backslashreplace")


class Run(Protocol):
    """Holds what exists only while a command runs, or while a container is being emptied."""

    pid: int
    poller: Poller
    teardown: Teardown
    streams: Streams

    @property
    def status(self) -> int | None:
        """The leader's status once it has exited; None before, or if another thread reaped it."""

    def send(self, number: int) -> bool:
        """Send a signal to the process group; return False if it is empty, or if the system has no such signal."""

    def holders(self) -> tuple[Holder, ...]:
        """Return the processes that can still write to the pipes, after reading what they wrote so far."""

    def let_go(self, cause: Cause) -> None:
        """Release the resources of this operating system; `cause` is why the run has ended."""
