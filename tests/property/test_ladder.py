"""Whatever happens in whatever order, a command is stopped gracefully and ends once."""

from __future__ import annotations

from typing import TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from gracefulexitcmd.exit import Cause
from gracefulexitcmd.ladder import KILL_PATIENCE, Action, Event, Ladder, Phase

Happening: TypeAlias = Event | float
"""An event, or a stop with this grace."""

SECONDS = st.floats(min_value=0, max_value=20)
HAPPENINGS = st.lists(st.tuples(SECONDS, st.one_of(st.sampled_from(Event), SECONDS)), max_size=30)
LADDERS = st.tuples(SECONDS, st.none() | SECONDS).map(lambda times: Ladder(*times))


class History:
    """A ladder, a clock, and what was asked for when."""

    def __init__(self, ladder: Ladder, *, output: bool) -> None:
        self.now = 100.0
        self.ladder = ladder.started(self.now, output=output)
        self.asked: list[tuple[float, Action]] = []
        self.phases = [self.ladder.phase]
        self.earliest_kill: float | None = None

    def happens(self, after: float, what: Happening) -> None:
        self.now += after
        before = self.ladder
        self.ladder, actions = (
            self.ladder.after(what, self.now) if isinstance(what, Event) else self.ladder.stopped(self.now, what)
        )
        self.asked.extend((self.now, action) for action in actions)
        if self.phases[-1] is not self.ladder.phase:
            self.phases.append(self.ladder.phase)
        self._grant(before, what)

    def _grant(self, before: Ladder, what: Happening) -> None:
        """Keep account of the time that was promised, from the outside: the first stop sets it, others shorten it."""
        if self.ladder.cause is Cause.EXITED:
            return
        wanted = self.now + (before.grace if isinstance(what, Event) else what)
        if what is Event.UNREACHABLE:
            wanted = self.now
        if self.earliest_kill is None:
            self.earliest_kill = wanted
        elif what is Event.UNREACHABLE or not isinstance(what, Event):
            self.earliest_kill = min(self.earliest_kill, wanted)

    def times(self, action: Action) -> list[float]:
        return [at for at, asked in self.asked if asked is action]


def _played(ladder: Ladder, happenings: list[tuple[float, Happening]], *, output: bool) -> History:
    history = History(ladder, output=output)
    for after, what in happenings:
        history.happens(after, what)
    return history


@given(LADDERS, HAPPENINGS, st.booleans())
def test_every_order_ends_in_one_final_state(
    ladder: Ladder, happenings: list[tuple[float, Happening]], output: bool
) -> None:
    """Once the last events have come it has ended, and whatever comes later changes nothing."""
    history = _played(ladder, happenings, output=output)
    for event in (Event.LEADER_EXITED, Event.LOOK_DUE, Event.SET_EMPTY, Event.OUTPUT_CLOSED):
        history.happens(0, event)
    assert history.ladder.phase is Phase.ENDED
    assert history.phases.count(Phase.ENDED) == 1
    ended, asked = history.ladder, len(history.asked)
    for what in (*Event, 0.0):
        history.happens(1000, what)
    assert history.ladder._replace(output=ended.output, leader_gone=ended.leader_gone) == ended
    assert len(history.asked) == asked


@given(LADDERS, HAPPENINGS, st.booleans())
def test_stop_ends_in_time_even_if_nothing_else_happens(
    ladder: Ladder, happenings: list[tuple[float, Happening]], output: bool
) -> None:
    history = _played(ladder, happenings, output=output)
    history.happens(0, 5.0)
    stopped_at = history.now
    for _ in range(4):
        if history.ladder.deadline is not None:
            history.happens(max(0.0, history.ladder.deadline - history.now), Event.DEADLINE_REACHED)
    assert history.ladder.phase is Phase.ENDED
    assert history.now <= stopped_at + 5 + KILL_PATIENCE + 0.001


@given(LADDERS, HAPPENINGS, st.booleans())
def test_signals_are_asked_for_in_order_and_in_time(
    ladder: Ladder, happenings: list[tuple[float, Happening]], output: bool
) -> None:
    """The stop signal once, SIGKILL once, never without the former and never before the grace is over."""
    history = _played(ladder, happenings, output=output)
    terminated, killed = history.times(Action.TERMINATE), history.times(Action.KILL)
    assert len(terminated) <= 1
    assert len(killed) <= len(terminated)
    assert (history.ladder.cause is Cause.EXITED) == (terminated == [])
    if killed:
        assert history.earliest_kill is not None
        assert killed[0] >= history.earliest_kill


@given(LADDERS, HAPPENINGS, st.booleans())
def test_nothing_is_asked_for_after_the_end(
    ladder: Ladder, happenings: list[tuple[float, Happening]], output: bool
) -> None:
    history = History(ladder, output=output)
    for after, what in happenings:
        ended, asked = history.ladder.phase is Phase.ENDED, len(history.asked)
        history.happens(after, what)
        assert not ended or len(history.asked) == asked


@given(LADDERS, HAPPENINGS, st.booleans(), st.lists(SECONDS, min_size=1, max_size=5))
def test_later_stops_never_lengthen(
    ladder: Ladder, happenings: list[tuple[float, Happening]], output: bool, graces: list[float]
) -> None:
    history = _played(ladder, happenings, output=output)
    history.happens(0, 5.0)
    for grace in graces:
        before = history.ladder
        history.happens(1, grace)
        after = history.ladder
        assert (after.phase, after.cause) == (before.phase, before.cause)
        assert after.grace <= before.grace
        assert (after.deadline is None) == (before.deadline is None)
        assert after.deadline is None or before.deadline is None or after.deadline <= before.deadline


@given(LADDERS, SECONDS)
def test_stop_before_the_start_is_final(ladder: Ladder, grace: float) -> None:
    stopped, actions = ladder.stopped(1, grace)
    assert (stopped.phase, stopped.cause, actions) == (Phase.ENDED, Cause.CANCELLED, ())
    assert stopped.stopped(2, 0) == (stopped, ())
