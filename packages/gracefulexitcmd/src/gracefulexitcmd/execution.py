"""From a start to an end: tells the ladder what happens and does what the ladder says.

Nothing here waits. Whoever drives it waits until the poller is ready or `deadline` has come, then calls `advance`;
a blocking caller and an event loop do the same.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, assert_never

from gracefulexitcmd import clock
from gracefulexitcmd.duration import check_seconds
from gracefulexitcmd.exit import Exit
from gracefulexitcmd.ladder import Action, Event, Ladder, Phase
from gracefulexitcmd.sequence import To

if TYPE_CHECKING:
    from collections.abc import Callable

    from gracefulexitcmd.exit import Cause, Holder, SignalSent
    from gracefulexitcmd.ladder import Step
    from gracefulexitcmd.request import Stopping
    from gracefulexitcmd.streams import Streams
    from gracefulexitcmd.system import Poller, Ready, Teardown
    from gracefulexitcmd.text import Text


class Execution:
    """Something that runs from a start to an end; every method may be called from any thread and none waits."""

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
        """With `may_be_skipped` a stop before the start keeps it from starting, else it only shortens the grace."""
        self.exit: Exit[Any] | None = None
        self.undecodable: UnicodeError | None = None
        """Why the output cannot be text as it was asked for; the exit has it with escapes then."""
        self._may_be_skipped = may_be_skipped
        self._stopping = stopping
        self._argv = argv
        self._text = text
        self._grace = ladder.grace
        self._ladder = ladder
        self._begin = begin
        self._lock = threading.Lock()
        self._afterwards = _Afterwards(self._serve_stops)
        self._stops: deque[tuple[float, str | None]] = deque()
        self._run: Run | None = None
        self._holders: tuple[Holder, ...] = ()

    @property
    def pid(self) -> int | None:
        """The number of the command's leader, and of its process group; None before the start."""
        return None if self._run is None else self._run.pid

    @property
    def signals(self) -> tuple[SignalSent, ...]:
        """What the command has been sent so far."""
        return () if self._run is None else tuple(self._run.teardown.signals)

    @property
    def deadline(self) -> float | None:
        """When `advance` has something to do even if nothing happens, on the monotonic clock."""
        look_at = None if self._run is None else self._run.teardown.look_at
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
            run = self._begin(self._tell)
            self._ladder = self._ladder.started(clock.now(), output=bool(run.streams))
            self._run = run

    def stop(self, grace: float | None, hurried: str | None = None) -> None:
        """Send the stop signal now, and SIGKILL after `grace` seconds; stopping again can only shorten that.

        `hurried` is the reason where it is shortened. Raises ValueError where `grace` is not a time.
        """
        check_seconds("grace", grace)
        self._stops.append((self._grace if grace is None else grace, hurried))
        self._serve_stops()

    def send(self, number: int) -> bool:
        """Send a signal to the command's group, whatever it means; False where nobody is there to be sent it.

        It never waits, so it is also False where another thread looks after the command at this moment.
        """
        with self._afterwards:
            if not self._lock.acquire(blocking=False):
                return False
            try:
                return self._run is not None and self.exit is None and self._run.send(number)
            finally:
                self._lock.release()

    def round_up(self) -> None:
        """Start and stop what has no leader to wait for: it ends as soon as nobody is left."""
        if self._run is None:
            self.start()
        self.stop(None)
        with self._afterwards, self._lock:
            if self.exit is None:
                self._tell(Event.LEADER_EXITED)

    def enter(self) -> Poller | None:
        """The poller to wait for, open until `leave`; None when there is nothing to wait for any more.

        Raises RuntimeError before the start.
        """
        with self._afterwards, self._lock:
            if self.exit is not None:
                return None
            run = self._started()
            run.poller.enter()
            return run.poller

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
                self._tell_the_time(self._run, clock.now())

    def refresh(self) -> None:
        """Do what is due by now; nothing happens where another thread does it at this moment."""
        with self._afterwards:
            if not self._lock.acquire(blocking=False):
                return
            try:
                if self._run is not None and self.exit is None:
                    self._run.poller.react(self._run.poller.wait(0))
                if self._run is not None and self.exit is None:
                    self._tell_the_time(self._run, clock.now())
            finally:
                self._lock.release()

    def take(self, name: str, buffer: memoryview, then: Callable[[], object] | None = None) -> int | None:
        """Fill a buffer from the command's stdout or stderr, which must be a pipe; returns the number of bytes.

        0 at its end. None where there is nothing now: `then` is called when there is, with the lock held, if it was
        given. Raises RuntimeError before the start.
        """
        with self._afterwards, self._lock:
            return self._started().streams.take(name, buffer, then)

    def wake_others(self) -> None:
        """Wake every other thread that waits for the poller; the lock must be held."""
        assert self._run is not None
        self._run.poller.wake_others()

    def give(self, content: bytes, then: Callable[[], object] | None = None) -> bool:
        """Write bytes to the command's stdin, which must be a pipe; False where it has to read first, see `take`.

        Raises BrokenPipeError where it does not read any more, RuntimeError before the start.
        """
        with self._afterwards, self._lock:
            run = self._started()
            if self.exit is not None:
                raise BrokenPipeError("the command has ended")
            return run.streams.give(content, then or run.poller.wake_others)

    def end_input(self) -> None:
        """Let the command find the end of its stdin, once what was given has been written."""
        with self._afterwards, self._lock:
            if self._run is not None and self.exit is None:
                self._run.streams.end_input()

    def collect(self) -> None:
        """Collect what the command writes from now on, although callers took it before."""
        with self._afterwards, self._lock:
            if self._run is not None and self.exit is None:
                self._run.streams.collect()

    def is_readable(self, name: str, within: float) -> bool:
        """Wait for bytes in a pipe for so many seconds, but not past the deadline; False where none are to be read."""
        deadline = self.deadline
        if deadline is not None:
            within = min(within, deadline - clock.now())
        run = self._run
        return run is not None and within > 0 and run.streams.is_readable(name, within)

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

    def _tell_the_time(self, run: Run, now: float) -> None:
        if run.teardown.look_at is not None and now >= run.teardown.look_at:
            self._tell(Event.LOOK_DUE)
        if self._ladder.deadline is not None and now >= self._ladder.deadline:
            self._count_first()
            self._tell(Event.DEADLINE_REACHED)

    def _count_first(self) -> None:
        # It takes a while, and the grace begins only when the signal is sent.
        if self._run is not None and self._ladder.phase in (Phase.RUNNING, Phase.DRAINING):
            # A container has no leader, whose number is then 0.
            leader_alive = self._run.pid != 0 and self._ladder.leader_gone is None
            self._run.teardown.count(quickly=leader_alive and To.LEADER in self._ladder.ahead[0].to)

    def _tell(self, event: Event) -> None:
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
            case Action.TERMINATE:
                began, is_first = clock.now(), self._ladder.at == 0
                self._terminate(self._run)
                if is_first:
                    self._ladder = self._ladder.told_late(clock.now() - began)
            case Action.TERMINATE_LATE:
                self._run.teardown.terminate_late()
            case Action.KILL:
                self._run.teardown.kill()
            case Action.LOOK:
                self._look(self._run)
            case Action.LOOK_BEHIND:
                self._look_behind(self._run)
            case Action.ABANDON_OUTPUT:
                self._holders = self._run.holders()
            case _:
                assert_never(action)

    def _terminate(self, run: Run) -> None:
        stage, *_ = ahead = self._ladder.ahead
        if self._ladder.at:
            run.teardown.look()
        sent = run.teardown.next_signal(stage)
        reached = sent.processes > 0 or (self._ladder.leader_gone is None and To.LEADER in stage.to)
        if stage.to != To.ALL and not reached:
            self._tell(Event.TOLD_GONE)
            return
        if self._stopping is not None and self._ladder.deadline is not None:
            left = max(0.0, self._ladder.deadline - clock.now())
            self._stopping(sent, (stage._replace(wait=left), *ahead[1:]))
        run.teardown.terminate(stage)

    def _look_behind(self, run: Run) -> None:
        if run.teardown.look():
            self._apply(self._ladder.stopped(clock.now(), self._grace))
        else:
            self._tell(Event.SET_EMPTY)

    def _look(self, run: Run) -> None:
        if not run.teardown.watch(kill=self._ladder.phase is Phase.KILLING):
            self._tell(Event.SET_EMPTY)
        elif not run.teardown.told_alive:
            self._tell(Event.TOLD_GONE)

    def _end(self) -> None:
        if self._run is None:
            self.exit = Exit(cause=self._ladder.cause, returncode=None, duration=0.0, argv=self._argv)
        else:
            self.exit = self._ended(self._run)
        # What is left refers to itself, and waits for the collector: it must not hold what the caller gave.
        self._stopping = None
        del self._begin

    def _ended(self, run: Run) -> Exit[Any]:
        """Give back everything that was held, and say what happened."""
        run.teardown.forget()
        run.streams.finish()
        run.let_go(self._ladder.cause)
        run.poller.close()
        return Exit(
            cause=self._ladder.cause,
            returncode=run.status,
            duration=clock.now() - run.teardown.started_at,
            forced=run.teardown.forced,
            signals=tuple(run.teardown.signals),
            census=run.teardown.census(),
            holders=self._holders,
            hurried=self._ladder.hurried,
            stdout=self._output(run, "stdout"),
            stderr=self._output(run, "stderr"),
            dropped=run.streams.dropped(),
            argv=self._argv,
        )

    def _output(self, run: Run, name: str) -> Any:
        content = run.streams.content(name)
        if content is None or self._text is None:
            return content
        try:
            return self._text.decode(content)
        except UnicodeError as error:
            self.undecodable = self.undecodable or error
            return content.decode(self._text.encoding, "backslashreplace")


class Run(Protocol):
    """What there is only while something runs."""

    pid: int
    poller: Poller
    teardown: Teardown
    streams: Streams

    @property
    def status(self) -> int | None:
        """The leader's status, once it has exited and nobody else has taken it."""

    def send(self, number: int) -> bool:
        """Send a signal to the group; False where nobody is left in it, or the system has no such signal."""

    def holders(self) -> tuple[Holder, ...]:
        """Those who could still write to the pipes; what they wrote so far is taken."""

    def let_go(self, cause: Cause) -> None:
        """Give back what only this system knows of; `cause` is why it has ended."""


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
