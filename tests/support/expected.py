"""What a server may truthfully say of a job's id, after what was asked of it and what it has said before.

Everything is asked by one caller, one after another, but Close, which takes its time: as long as one is under way, the
job may be gone at any moment.
"""

from __future__ import annotations

from typing import NamedTuple

from step_runner.model import Status

FINAL = frozenset({Status.SUCCESS, Status.FAILURE, Status.CANCELLED})

BEGUN = frozenset({Status.UNSPECIFIED, Status.RUNNING})


class Expected(NamedTuple):
    """The states that the job with an id may be in; None stands for no such job."""

    states: frozenset[Status | None] = frozenset({None})
    ends: bool = True
    """Whether it comes to its end without being asked for that."""
    runs: int = 0
    """How often a job was run with this id."""
    closing: int = 0
    """How many Close are under way."""

    @property
    def unknown(self) -> bool:
        """Whether there is surely no such job."""
        return self.states == {None}

    @property
    def known(self) -> bool:
        """Whether there is surely a job."""
        return None not in self.states


def ran(before: Expected, ends: frozenset[Status]) -> Expected:
    """After Run with what ends in one of these ways, or not by itself; where there is a job it changes nothing."""
    new = BEGUN | ends if not before.known else frozenset()
    comes_to_end = bool(ends) if before.unknown else before.ends and (before.known or bool(ends))
    return _closing(before._replace(states=before.states - {None} | new, ends=comes_to_end, runs=before.runs + 1))


def cancelled(before: Expected) -> Expected:
    """After Cancel: it ends, cancelled if it has not ended otherwise before; it stays known."""
    return before._replace(states=_stopped(before.states), ends=True)


def close_began(before: Expected) -> Expected:
    """After a Close was sent."""
    return _closing(before._replace(ends=True, closing=before.closing + 1))


def close_ended(before: Expected, runs: int) -> Expected:
    """After the answer to a Close that was sent after so many Run: the job is gone, unless it was run since."""
    states = frozenset({None}) if before.runs == runs else before.states
    return before._replace(states=states, closing=before.closing - 1)


def said(before: Expected, state: Status | None) -> Expected:
    """After the server has said this. Raises AssertionError where it cannot be true."""
    assert state in before.states, f"it is {_name(state)}, but may only be {' or '.join(map(_name, before.states))}"
    if state is None or state in FINAL:
        return _closing(before._replace(states=frozenset({state})))
    return _closing(before._replace(states=before.states & FINAL | {Status.RUNNING, state}))


def _closing(now: Expected) -> Expected:
    return now._replace(states=_stopped(now.states) | {None}) if now.closing else now


def _stopped(states: frozenset[Status | None]) -> frozenset[Status | None]:
    return states | {Status.CANCELLED} if states & BEGUN else states


def _name(state: Status | None) -> str:
    return "unknown" if state is None else state.name
