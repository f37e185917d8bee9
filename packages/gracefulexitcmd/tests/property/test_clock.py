"""Every order of requests, repeats, suspensions and ends leads to one final state, and none shortens a grace period."""

from __future__ import annotations

import signal
from typing import TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from gracefulexitcmd.clock import Clock
from gracefulexitcmd.ladder import KILL_PATIENCE, Action, Event, Ladder, Phase
from gracefulexitcmd.stop_request import STOP_SIGNALS, Answer, StopRequest

SECONDS = st.floats(min_value=0, max_value=20)
SUSPEND, CONTINUE = "suspend", "continue"
Happening: TypeAlias = Event | signal.Signals | str
HAPPENINGS = st.lists(st.tuples(SECONDS, st.sampled_from([*Event, *STOP_SIGNALS, SUSPEND, CONTINUE])), max_size=30)


class Program:
    """A command below a program that gets signals and is suspended. Only the test lets time pass."""

    def __init__(self, grace: float, timeout: float | None) -> None:
        self.time = 100.0
        self.clock = Clock(lambda: self.time)
        self.request = StopRequest()
        self.ladder = Ladder(grace, timeout).started(self.clock.now(), output=True)
        self.asked: list[tuple[float, Action]] = []
        self.ran = 0.0
        self.suspended = False
        self.unreachable = False

    def happens(self, after: float, what: Happening) -> None:
        self.time += after
        self.ran += 0 if self.suspended else after
        if what == SUSPEND:
            self.clock.stop()
            self.suspended = True
        elif what == CONTINUE:
            self.clock.go_on()
            self.suspended = False
        elif isinstance(what, Event):
            self.unreachable |= what is Event.UNREACHABLE
            self._do(*self.ladder.after(what, self.clock.now()))
        elif isinstance(what, signal.Signals):
            self._signalled(what)

    def _signalled(self, number: signal.Signals) -> None:
        self.request, answer = self.request.after(number, self.time)
        if answer is not Answer.NOTHING:
            grace = self.ladder.grace if answer is Answer.STOP else 0.0
            self._do(*self.ladder.stopped(self.clock.now(), grace, hurried=self.request.hurried))

    def _do(self, ladder: Ladder, actions: tuple[Action, ...]) -> None:
        self.ladder = ladder
        self.asked += [(self.ran, action) for action in actions]

    def times(self, action: Action) -> list[float]:
        return [at for at, asked in self.asked if asked is action]


def _played(grace: float, timeout: float | None, happenings: list[tuple[float, Happening]]) -> Program:
    program = Program(grace, timeout)
    for after, what in happenings:
        program.happens(after, what)
    return program


@given(SECONDS, st.none() | SECONDS, HAPPENINGS)
def test_every_order_of_requests_and_suspensions_ends_once(
    grace: float, timeout: float | None, happenings: list[tuple[float, Happening]]
) -> None:
    program = _played(grace, timeout, happenings)
    program.happens(0, CONTINUE)
    program.happens(0, signal.SIGTERM)
    for _ in range(4):
        if program.ladder.deadline is not None:
            left = max(0.0, program.ladder.deadline - program.clock.now())
            assert left <= max(grace, KILL_PATIENCE, timeout or 0.0) + 0.001
            program.happens(left + 0.001, Event.DEADLINE_REACHED)
    assert program.ladder.phase is Phase.ENDED
    ended, asked = program.ladder, len(program.asked)
    for what in (*Event, *STOP_SIGNALS, SUSPEND, CONTINUE):
        program.happens(1000, what)
    assert program.ladder._replace(output=ended.output, leader_gone=ended.leader_gone) == ended
    assert len(program.asked) == asked


@given(SECONDS, st.none() | SECONDS, HAPPENINGS)
def test_sigkill_follows_grace_period_unless_hurried(
    grace: float, timeout: float | None, happenings: list[tuple[float, Happening]]
) -> None:
    """The grace period is counted on the test's own clock, which runs only while the program is not suspended."""
    program = _played(grace, timeout, happenings)
    killed, told = program.times(Action.KILL), program.times(Action.SIGNAL)
    assert len(killed) <= len(told) <= 1
    if killed and program.request.hurried is None and not program.unreachable:
        assert killed[0] - told[0] >= grace - 0.001
        assert program.ladder.hurried is None


@given(st.lists(st.tuples(SECONDS, st.booleans()), max_size=30))
def test_clock_runs_exactly_while_program_is_not_stopped(happenings: list[tuple[float, bool]]) -> None:
    program = Program(0, None)
    begun = program.clock.now()
    for after, suspend in happenings:
        before = program.clock.now()
        program.happens(after, SUSPEND if suspend else CONTINUE)
        assert program.clock.now() >= before - 1e-9, "but for rounding"
    assert abs(program.clock.now() - begun - program.ran) < 1e-6
