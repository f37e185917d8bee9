"""The stop sequence, step by step."""

from __future__ import annotations

import signal

import pytest

from gracefulexitcmd.exit import Cause
from gracefulexitcmd.ladder import KILL_PATIENCE, Action, Event, Ladder, Phase
from gracefulexitcmd.sequence import Stage, To

RUNNING = Ladder(grace=10).started(0, output=False)
READING = Ladder(grace=10).started(0, output=True)


def _after(ladder: Ladder, *events: tuple[float, Event]) -> Ladder:
    for now, event in events:
        ladder, _ = ladder.after(event, now)
    return ladder


def test_command_without_pipes_ends_with_its_leader() -> None:
    ladder, actions = RUNNING.after(Event.LEADER_EXITED, 1)
    assert (ladder.phase, ladder.cause, ladder.deadline, actions) == (Phase.ENDED, Cause.EXITED, None, ())


def test_command_with_pipes_ends_with_their_end() -> None:
    ladder = _after(READING, (1, Event.LEADER_EXITED))
    assert (ladder.phase, ladder.deadline) == (Phase.DRAINING, 11)
    assert _after(ladder, (2, Event.OUTPUT_CLOSED)).phase is Phase.ENDED


def test_pipes_ending_first_do_not_end_command() -> None:
    ladder = _after(READING, (1, Event.OUTPUT_CLOSED))
    assert ladder.phase is Phase.RUNNING
    assert _after(ladder, (2, Event.LEADER_EXITED)).phase is Phase.ENDED


def test_held_output_ends_after_grace_period() -> None:
    draining = _after(READING, (1, Event.LEADER_EXITED))
    assert draining.after(Event.DEADLINE_REACHED, 10.9) == (draining, ())
    ladder, actions = draining.after(Event.DEADLINE_REACHED, 11)
    assert (ladder.phase, ladder.cause, actions) == (Phase.ENDED, Cause.EXITED, (Action.ABANDON_OUTPUT,))


def test_stop_before_start_ends_command() -> None:
    ladder, actions = Ladder(grace=10).stopped(0, 10)
    assert (ladder.phase, ladder.cause, actions) == (Phase.ENDED, Cause.CANCELLED, ())


def test_grace_period_begins_after_signal() -> None:
    stopping, _ = RUNNING.stopped(5, 10)
    assert stopping.extend_grace(0.5).deadline == 15.5
    ended = Ladder(grace=10).stopped(0, 10)[0]
    assert ended.extend_grace(0.5) == ended


def test_stop_requests_signal_and_gives_grace_period() -> None:
    ladder, actions = RUNNING.stopped(5, 10)
    assert (ladder.phase, ladder.cause, ladder.deadline) == (Phase.STOPPING, Cause.CANCELLED, 15)
    assert actions == (Action.SIGNAL,)


def test_timeout_requests_the_same_with_another_cause() -> None:
    running = Ladder(grace=10, timeout=3).started(1, output=False)
    assert running.after(Event.DEADLINE_REACHED, 3.9) == (running, ())
    ladder, actions = running.after(Event.DEADLINE_REACHED, 4)
    assert (ladder.phase, ladder.cause, ladder.deadline) == (Phase.STOPPING, Cause.TIMEOUT, 14)
    assert actions == (Action.SIGNAL,)


def test_first_reason_to_stop_is_cause() -> None:
    running = Ladder(grace=10, timeout=3).started(0, output=False)
    timed_out = _after(running, (3, Event.DEADLINE_REACHED))
    assert timed_out.stopped(4, 1)[0].cause is Cause.TIMEOUT


@pytest.mark.parametrize(
    ("grace", "deadline"), [(1000, 15), (10, 15), (2, 8), (0, 6)], ids=["longer", "same", "shorter", "none"]
)
def test_later_stop_only_shortens(grace: float, deadline: float) -> None:
    stopping, _ = RUNNING.stopped(5, 10)
    ladder, actions = stopping.stopped(6, grace)
    assert (ladder.phase, ladder.deadline, actions) == (Phase.STOPPING, deadline, ())


def test_grace_period_lasts_until_set_is_empty() -> None:
    """The end of the leader alone does not end it."""
    stopping, _ = RUNNING.stopped(0, 10)
    ladder, actions = stopping.after(Event.LEADER_EXITED, 1)
    assert (ladder.phase, ladder.deadline, actions) == (Phase.STOPPING, 10, (Action.SCAN,))
    assert ladder.after(Event.SCAN_DUE, 2) == (ladder, (Action.SCAN,))
    ladder, actions = ladder.after(Event.DEADLINE_REACHED, 10)
    assert (ladder.phase, actions) == (Phase.KILLING, (Action.KILL, Action.SCAN))
    assert _after(ladder, (11, Event.SET_EMPTY)).phase is Phase.ENDED


def test_scan_during_grace_period_signals_late_orphans() -> None:
    """The leader still runs: only a missed stop signal is due."""
    stopping, _ = RUNNING.stopped(0, 10)
    assert stopping.after(Event.SCAN_DUE, 1) == (stopping, (Action.SIGNAL_LATE,))
    assert RUNNING.after(Event.SCAN_DUE, 1) == (RUNNING, ())


def test_unkillable_process_is_not_awaited() -> None:
    killing = _after(RUNNING.stopped(0, 10)[0], (10, Event.DEADLINE_REACHED))
    assert (killing.phase, killing.deadline) == (Phase.KILLING, 10 + KILL_PATIENCE)
    ladder, actions = killing.after(Event.DEADLINE_REACHED, 10 + KILL_PATIENCE)
    assert (ladder.phase, ladder.cause, actions) == (Phase.ENDED, Cause.CANCELLED, (Action.ABANDON_OUTPUT,))


def test_output_of_stopped_leader_is_read_during_grace_period() -> None:
    """Reading ends at the latest one grace period after the end of the leader."""
    stopping = _after(READING.stopped(0, 10)[0], (4, Event.LEADER_EXITED))
    draining = _after(stopping, (5, Event.SET_EMPTY))
    assert (draining.phase, draining.deadline) == (Phase.DRAINING, 14)
    hurried, actions = draining.stopped(6, 1)
    assert (hurried.phase, hurried.deadline, actions) == (Phase.DRAINING, 7, ())


def test_stop_while_output_is_held_gives_whole_grace_period() -> None:
    """The time of reading does not count, and does not lengthen the reading."""
    draining = _after(READING, (0, Event.LEADER_EXITED))
    ladder, actions = draining.stopped(9, 10)
    assert (ladder.phase, ladder.cause, ladder.deadline) == (Phase.STOPPING, Cause.EXITED, 19)
    assert actions == (Action.SIGNAL, Action.SCAN)
    assert _after(ladder, (12, Event.SET_EMPTY)).deadline == 10


@pytest.mark.parametrize("event", list(Event))
@pytest.mark.parametrize("phase", [Phase.READY, Phase.ENDED])
def test_ladder_does_nothing_before_start_and_after_end(phase: Phase, event: Event) -> None:
    ladder, actions = Ladder(grace=10, phase=phase).after(event, 1000)
    assert (ladder.phase, actions) == (phase, ())


def test_unreachable_processes_are_not_awaited() -> None:
    stopping, _ = RUNNING.stopped(1, 10)
    unreachable, actions = stopping.after(Event.UNREACHABLE, 1)
    assert (unreachable.phase, unreachable.deadline, actions) == (Phase.STOPPING, 1, ())
    assert unreachable.after(Event.DEADLINE_REACHED, 1)[0].phase is Phase.KILLING
    assert RUNNING.after(Event.UNREACHABLE, 1) == (RUNNING, ())


STAGES = (
    Stage(signal.SIGINT, 2, To.LEADER),
    Stage(signal.SIGTERM, 3),
    Stage(signal.SIGQUIT, 5),
)
STAGED = Ladder(10, None, STAGES).started(0, output=False)


def test_stages_follow_each_other_after_their_time() -> None:
    ladder, actions = STAGED.stopped(0, 10)
    assert (ladder.at, ladder.deadline, actions) == (0, 2, (Action.SIGNAL,))
    ladder, actions = ladder.after(Event.DEADLINE_REACHED, 2)
    assert (ladder.at, ladder.deadline, actions) == (1, 5, (Action.SIGNAL,))
    ladder, actions = ladder.after(Event.DEADLINE_REACHED, 5)
    assert (ladder.at, ladder.deadline, actions) == (2, 10, (Action.SIGNAL,))
    assert ladder.after(Event.DEADLINE_REACHED, 10)[0].phase is Phase.KILLING


def test_stage_begins_early_when_its_predecessors_are_gone() -> None:
    """The next stage gets the rest of its time; SIGKILL comes no sooner."""
    ladder = _after(STAGED.stopped(0, 10)[0], (1, Event.LEADER_EXITED))
    ladder, actions = ladder.after(Event.RECEIVERS_GONE, 1)
    assert (ladder.at, ladder.deadline, actions) == (1, 5, (Action.SIGNAL, Action.SCAN))


def test_last_stage_waits_even_if_its_processes_are_gone() -> None:
    ladder = _after(Ladder(10, None, STAGES[:1]).started(0, output=False).stopped(0, 10)[0], (1, Event.LEADER_EXITED))
    assert ladder.after(Event.RECEIVERS_GONE, 1) == (ladder, ())


def test_shorter_grace_shrinks_all_waits_in_proportion() -> None:
    ladder, _ = STAGED.stopped(0, 5)
    assert [stage.wait for stage in ladder.ahead] == [1, 1.5, 2.5]
    ladder, _ = STAGED.stopped(0, 100)
    assert [stage.wait for stage in ladder.ahead] == [2, 3, 5]


def test_later_stop_shrinks_remaining_stages_in_proportion() -> None:
    """Half of the first stage has passed: 9 seconds remain, and 4.5 are granted."""
    ladder, actions = STAGED.stopped(0, 10)[0].stopped(1, 4.5)
    assert (ladder.at, ladder.deadline, actions) == (0, 1.5, ())
    assert [stage.wait for stage in ladder.ahead[1:]] == [1.5, 2.5]


def test_stages_without_time_are_skipped() -> None:
    """A stop with no time kills right after its first signal."""
    ladder, actions = STAGED.stopped(0, 0)
    assert actions == (Action.SIGNAL,)
    ladder, actions = ladder.after(Event.DEADLINE_REACHED, 0)
    assert (ladder.phase, actions) == (Phase.KILLING, (Action.KILL,))


def test_unreachable_processes_skip_remaining_stages() -> None:
    ladder = _after(STAGED.stopped(0, 10)[0], (0, Event.UNREACHABLE))
    assert ladder.after(Event.DEADLINE_REACHED, 0)[0].phase is Phase.KILLING
