"""In every order of events a command is stopped gracefully and ends once."""

from __future__ import annotations

import signal
from itertools import pairwise
from typing import TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from gracefulexitcmd.exit import Cause
from gracefulexitcmd.ladder import KILL_PATIENCE, Action, Event, Ladder, Phase
from gracefulexitcmd.sequence import Stage, To, fitted, total

Happening: TypeAlias = Event | float
"""An event, or a stop with this grace period."""

SECONDS = st.floats(min_value=0, max_value=20)
HAPPENINGS = st.lists(st.tuples(SECONDS, st.one_of(st.sampled_from([*Event]), SECONDS)), max_size=30)
STAGES = st.builds(Stage, st.sampled_from([signal.SIGINT, signal.SIGTERM]), st.none() | SECONDS, st.sampled_from(To))
SEQUENCES = st.lists(STAGES, min_size=1, max_size=4).map(tuple)
LADDERS = st.tuples(SECONDS, st.none() | SECONDS, st.just((Stage(),)) | SEQUENCES).map(lambda one: Ladder(*one))
ROUNDING = 1e-6
"""Tolerance in seconds: proportional waits are not exact."""


class History:
    """A ladder, a clock, and the times of its requests."""

    def __init__(self, ladder: Ladder, *, output: bool) -> None:
        self.now = 100.0
        self.ladder = ladder.started(self.now, output=output)
        self.asked: list[tuple[float, Action]] = []
        self.phases = [self.ladder.phase]
        self.stages: list[int] = []
        self.earliest_kill: float | None = None

    def happens(self, after: float, what: Happening) -> None:
        self.now += after
        before = self.ladder
        self.ladder, actions = (
            self.ladder.after(what, self.now) if isinstance(what, Event) else self.ladder.stopped(self.now, what)
        )
        self.asked.extend((self.now, action) for action in actions)
        self.stages.extend(self.ladder.at for action in actions if action is Action.SIGNAL)
        if self.phases[-1] is not self.ladder.phase:
            self.phases.append(self.ladder.phase)
        self._grant(before, what)

    def _grant(self, before: Ladder, what: Happening) -> None:
        """Record the promised time from the outside: the first stop sets it, later ones shorten it."""
        if not self.ladder.asked:
            return
        given = before.grace if isinstance(what, Event) else what
        wanted = self.now + (given if None in (stage.wait for stage in before.stop) else min(given, total(before.stop)))
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
    """After the last events it has ended, and later events change nothing."""
    history = _played(ladder, happenings, output=output)
    for event in (Event.LEADER_EXITED, Event.SCAN_DUE, Event.SET_EMPTY, Event.OUTPUT_CLOSED):
        history.happens(0, event)
    assert history.ladder.phase is Phase.ENDED
    assert history.phases.count(Phase.ENDED) == 1
    ended, asked = history.ladder, len(history.asked)
    for what in (*Event, 0.0):
        history.happens(1000, what)
    assert history.ladder._replace(output=ended.output, leader_gone=ended.leader_gone) == ended
    assert len(history.asked) == asked


@given(LADDERS, HAPPENINGS, st.booleans())
def test_stop_ends_in_time_without_other_events(
    ladder: Ladder, happenings: list[tuple[float, Happening]], output: bool
) -> None:
    history = _played(ladder, happenings, output=output)
    history.happens(0, 5.0)
    stopped_at = history.now
    for _ in range(8):
        if history.ladder.deadline is not None:
            history.happens(max(0.0, history.ladder.deadline - history.now), Event.DEADLINE_REACHED)
    assert history.ladder.phase is Phase.ENDED
    assert history.now <= stopped_at + 5 + KILL_PATIENCE + 0.001


@given(LADDERS, HAPPENINGS, st.booleans())
def test_signals_are_requested_in_order_and_in_time(
    ladder: Ladder, happenings: list[tuple[float, Happening]], output: bool
) -> None:
    """Each stage comes once and in its order; SIGKILL comes once, never first, and not before all waits are over."""
    history = _played(ladder, happenings, output=output)
    terminated, killed = history.times(Action.SIGNAL), history.times(Action.KILL)
    assert history.stages == sorted(set(history.stages))
    assert history.stages[:1] in ([], [0])
    assert len(terminated) <= len(ladder.stop)
    assert len(killed) <= min(1, len(terminated))
    assert history.ladder.asked == bool(terminated)
    if killed:
        assert history.earliest_kill is not None
        assert killed[0] >= history.earliest_kill - ROUNDING


@given(LADDERS, HAPPENINGS, st.booleans())
def test_stages_never_outlast_grace_period(
    ladder: Ladder, happenings: list[tuple[float, Happening]], output: bool
) -> None:
    """After every event the remaining stages end at the promised time, not later."""
    history = History(ladder, output=output)
    for after, what in happenings:
        history.happens(after, what)
        now = history.ladder
        if now.phase is Phase.STOPPING:
            assert now.deadline is not None
            assert history.earliest_kill is not None
            assert now.deadline + total(now.ahead[1:]) <= history.earliest_kill + ROUNDING


@given(SEQUENCES, SECONDS)
def test_waits_shrink_in_proportion(sequence: tuple[Stage, ...], grace: float) -> None:
    """No wait exceeds its request, and their sum does not exceed the grace period."""
    fits = fitted(sequence, grace)
    assert total(fits) <= grace + ROUNDING
    assert [(stage.signal, stage.to) for stage in fits] == [(stage.signal, stage.to) for stage in sequence]
    known = [(was.wait, now.wait or 0) for was, now in zip(sequence, fits, strict=True) if was.wait is not None]
    for (asked, got), (other_asked, other_got) in pairwise(known):
        assert abs(asked * other_got - other_asked * got) < 0.001
    assert all(got <= asked + ROUNDING for asked, got in known)


@given(LADDERS, HAPPENINGS, st.booleans())
def test_ladder_requests_nothing_after_end(
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
def test_stop_before_start_is_final(ladder: Ladder, grace: float) -> None:
    stopped, actions = ladder.stopped(1, grace)
    assert (stopped.phase, stopped.cause, actions) == (Phase.ENDED, Cause.CANCELLED, ())
    assert stopped.stopped(2, 0) == (stopped, ())
