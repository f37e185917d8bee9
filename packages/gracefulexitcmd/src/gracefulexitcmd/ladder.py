"""Decides the next step of the stop sequence from an event and the clock, as a pure function.

    READY ── started ──▶ RUNNING ── leader exited ──▶ DRAINING ── output closed or delay over ──▶ ENDED
                            │                            ▲   │
                  stop or time over                set empty  stop
                            ▼                            │   ▼
                        STOPPING ─────────────────────── ┤ STOPPING
                            │ delay over                 │
                            ▼                            │
                         KILLING ────────────────────────┘

STOPPING goes through the stages of the stop sequence. Each stage begins with a signal. It ends when its time is over,
or sooner when no process that got the signal is left; the next stage then also gets the unused time. KILLING begins
with SIGKILL to the whole set of processes. Both last until the set is empty, not only until the leader has exited. A
stop before the start ends the command at once. With `whole`, RUNNING goes to STOPPING if a process is left when the
leader has exited, otherwise to DRAINING.
"""

from __future__ import annotations

from gracefulexitcmd.exit import Cause
from gracefulexitcmd.sequence import Stage, fitted, total
from gracefulexitcmd.typed import Enum, NamedTuple, assert_never

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import TypeAlias

KILL_PATIENCE = 2.0
"""Seconds to wait after SIGKILL for processes that do not die, such as one in uninterruptible sleep (state D)."""


class Phase(Enum):
    """The phases of a command from start to end."""

    READY = "ready"
    RUNNING = "running"
    STOPPING = "stopping"
    KILLING = "killing"
    DRAINING = "draining"
    ENDED = "ended"


class Action(Enum):
    """The actions that a ladder asks for."""

    SIGNAL = "send the signal of the stage, then SIGCONT, to the processes that the stage is for"
    SIGNAL_LATE = "send the signal of the stage to processes that are older than it but were found after it"
    KILL = "send SIGKILL to the whole set"
    SCAN = "scan for members, now and whenever the last one found has ended, until the set is empty"
    SCAN_ORPHANS = "scan after the leader has exited by itself, and stop the processes that are left"
    ABANDON_OUTPUT = "stop reading the output, and report the processes that hold it open"


class Event(Enum):
    """The events of a running command; a request to stop is not one of them."""

    LEADER_EXITED = "the leader has exited; its descendants may still run"
    SCAN_DUE = "the processes of the last scan have ended, or it is time for the next one"
    RECEIVERS_GONE = "some processes are left, but none that the stage is for"
    SET_EMPTY = "no process of the set is left"
    OUTPUT_CLOSED = "the last pipe was read to its end"
    DEADLINE_REACHED = "the clock has passed the ladder's deadline"
    UNREACHABLE = "the stop signal could be sent to no process"


class Ladder(NamedTuple):
    """The state of one stop sequence; times are seconds of a monotonic clock, durations seconds.

    `whole` is whether to stop the remaining processes after the leader has exited by itself. `asked` is whether a stop
    was requested; it is not the cause if the leader had exited before.

    `stop` is the requested sequence, and from STOPPING on the one that fits into the grace period. `at` is the index
    of the present stage; it ends at `deadline`.
    """

    grace: float
    timeout: float | None = None
    stop: tuple[Stage, ...] = (Stage(),)
    phase: Phase = Phase.READY
    cause: Cause = Cause.EXITED
    output: bool = False
    leader_gone: float | None = None
    deadline: float | None = None
    hurried: str | None = None
    at: int = 0
    asked: bool = False
    whole: bool = False

    @property
    def ahead(self) -> tuple[Stage, ...]:
        """The present stage and those that follow, without SIGKILL."""
        return self.stop[self.at :]

    def started(self, now: float, *, output: bool) -> Ladder:
        """Return the ladder after the command was started; `output` is whether there are pipes to read."""
        deadline = None if self.timeout is None else now + self.timeout
        return self._replace(phase=Phase.RUNNING, output=output, deadline=deadline)

    def stopped(self, now: float, grace: float, cause: Cause = Cause.CANCELLED, hurried: str | None = None) -> Step:
        """Return the ladder after a request to end within `grace` seconds, and its actions.

        A second stop can shorten the rest of the grace period, never lengthen it; `hurried` is its reason.
        """
        hurry = self._replace(hurried=self.hurried or hurried)
        match self.phase:
            case Phase.READY:
                return self._replace(phase=Phase.ENDED, cause=cause), ()
            case Phase.RUNNING:
                left = () if self.leader_gone is None else (Action.SCAN,)
                return hurry._stopping(now, grace, cause), (Action.SIGNAL, *left)
            case Phase.DRAINING if not self.asked:
                return hurry._stopping(now, grace, cause), (Action.SIGNAL, Action.SCAN)
            case Phase.STOPPING | Phase.DRAINING:
                return hurry._shortened(now, grace), ()
            case Phase.KILLING | Phase.ENDED:
                return self, ()
            case _:
                assert_never(self.phase)

    def extend_grace(self, seconds: float) -> Ladder:
        """Return the ladder with the deadline moved by the seconds that sending the stop signal took.

        The grace period begins when the signal has been sent.
        """
        return self if self.deadline is None else self._replace(deadline=self.deadline + seconds)

    def after(self, event: Event, now: float) -> Step:
        """Return the ladder after an event, and its actions; an event without meaning in this phase changes nothing."""
        match event:
            case Event.LEADER_EXITED:
                return self._leader_exited(now)
            case Event.SCAN_DUE:
                return self, self._scan_due()
            case Event.RECEIVERS_GONE:
                return self._next() if self.phase is Phase.STOPPING and len(self.ahead) > 1 else (self, ())
            case Event.SET_EMPTY:
                is_last = self._emptying or (self.leader_gone is not None and self.phase is Phase.RUNNING)
                return (self._drained(self.leader_gone) if is_last else self), ()
            case Event.OUTPUT_CLOSED:
                closed = self._replace(output=False)
                return (closed._drained(self.leader_gone) if self.phase is Phase.DRAINING else closed), ()
            case Event.DEADLINE_REACHED:
                return self._deadline_reached(now)
            case Event.UNREACHABLE:
                return self._unreachable(now), ()
            case _:
                assert_never(event)

    def _scan_due(self) -> tuple[Action, ...]:
        if self._emptying:
            return (Action.SCAN,)
        return (Action.SIGNAL_LATE,) if self.phase is Phase.STOPPING else ()

    @property
    def _emptying(self) -> bool:
        """Whether the leader has exited and the rest of the set is being ended."""
        return self.leader_gone is not None and self.phase in (Phase.STOPPING, Phase.KILLING)

    def _leader_exited(self, now: float) -> Step:
        if self.leader_gone is not None or self.phase in (Phase.READY, Phase.ENDED):
            return self, ()
        if self.phase is Phase.RUNNING and not self.whole:
            return self._drained(now), ()
        return self._replace(leader_gone=now), (Action.SCAN_ORPHANS if self.phase is Phase.RUNNING else Action.SCAN,)

    def _deadline_reached(self, now: float) -> Step:
        if self.deadline is None or now < self.deadline:
            return self, ()
        match self.phase:
            case Phase.RUNNING:
                return self.stopped(now, self.grace, Cause.TIMEOUT)
            case Phase.STOPPING if now < self._kill_at:
                return self._next()
            case Phase.STOPPING:
                killing = self._replace(phase=Phase.KILLING, deadline=now + KILL_PATIENCE)
                return killing, (Action.KILL, Action.SCAN) if killing._emptying else (Action.KILL,)
            case Phase.KILLING | Phase.DRAINING:
                return self._replace(phase=Phase.ENDED, deadline=None), (Action.ABANDON_OUTPUT,)
            case Phase.READY | Phase.ENDED:
                return self, ()
            case _:
                assert_never(self.phase)

    @property
    def _kill_at(self) -> float:
        assert self.deadline is not None
        return self.deadline + total(self.ahead[1:])

    def _next(self) -> Step:
        """Return the ladder in its next stage; if it begins early, it still ends at the planned time."""
        assert self.deadline is not None
        following = self._replace(at=self.at + 1, deadline=self.deadline + total(self.ahead[1:2]))
        return following, (Action.SIGNAL, Action.SCAN) if self._emptying else (Action.SIGNAL,)

    def _unreachable(self, now: float) -> Ladder:
        """Return the ladder with its deadline at once: no process got the signal, so there is none to wait for."""
        if self.phase is not Phase.STOPPING or self.deadline is None:
            return self
        return self._replace(deadline=min(self.deadline, now), at=len(self.stop) - 1)

    def _drained(self, gone: float | None) -> Ladder:
        """Return the ladder that reads the rest of the output, at most `grace` seconds after the leader has gone.

        Without output return the ladder at its end.
        """
        assert gone is not None
        phase, deadline = (Phase.DRAINING, gone + self.grace) if self.output else (Phase.ENDED, None)
        return self._replace(phase=phase, leader_gone=gone, deadline=deadline)

    def _stopping(self, now: float, grace: float, cause: Cause) -> Ladder:
        stop = fitted(self.stop, grace)
        grace = total(stop)
        # A stop while the output is drained grants the whole grace period, but does not lengthen the reading.
        reading = grace if self.leader_gone is None else min(self.grace, grace)
        end = now + total(stop[:1])
        cause = cause if self.leader_gone is None else self.cause
        return self._replace(phase=Phase.STOPPING, cause=cause, grace=reading, stop=stop, deadline=end, asked=True)

    def _shortened(self, now: float, grace: float) -> Ladder:
        """Return the ladder after a stop that leaves less time: the rest of all stages shrinks in proportion."""
        assert self.deadline is not None
        shorter = self._replace(grace=min(self.grace, grace))
        if self.phase is Phase.DRAINING:
            return shorter._replace(deadline=min(self.deadline, now + grace))
        since = min(now, self.deadline)  # the stage may be over without a check of the clock since
        ahead = (self.ahead[0]._replace(wait=self.deadline - since), *self.ahead[1:])
        if self._kill_at <= now + grace:
            return shorter
        ahead = fitted(ahead, now + grace - since)
        return shorter._replace(stop=self.stop[: self.at] + ahead, deadline=since + total(ahead[:1]))


Step: TypeAlias = tuple[Ladder, tuple[Action, ...]]
