"""A model of the states that a server may report for a job's id, after its earlier requests and answers.

One caller sends all requests in sequence, except Close, which takes a while: during a Close the job may vanish at any
moment.
"""

from __future__ import annotations

from typing import NamedTuple

from step_runner.model import Status

FINAL = frozenset({Status.SUCCESS, Status.FAILURE, Status.CANCELLED})

BEGUN = frozenset({Status.UNSPECIFIED, Status.RUNNING})


class Expected(NamedTuple):
    """The possible states of the job with an id; None means that the job does not exist."""

    states: frozenset[Status | None] = frozenset({None})
    ends: bool = True
    """Whether it ends without being stopped."""
    runs: int = 0
    """The number of Run requests with this id."""
    closing: int = 0
    """The number of pending Close requests."""

    @property
    def unknown(self) -> bool:
        """Whether certainly no such job exists."""
        return self.states == {None}

    @property
    def known(self) -> bool:
        """Whether a job certainly exists."""
        return None not in self.states


def ran(before: Expected, ends: frozenset[Status]) -> Expected:
    """Return the state after a Run; `ends` are the final states of the new job. A Run of a known id changes nothing."""
    new = BEGUN | ends if not before.known else frozenset()
    comes_to_end = bool(ends) if before.unknown else before.ends and (before.known or bool(ends))
    return _closing(before._replace(states=before.states - {None} | new, ends=comes_to_end, runs=before.runs + 1))


def cancelled(before: Expected) -> Expected:
    """Return the state after a Cancel: the job ends, as cancelled unless it ends before, and stays known."""
    return before._replace(states=_stopped(before.states), ends=True)


def close_began(before: Expected) -> Expected:
    """Return the state after a Close was sent."""
    return _closing(before._replace(ends=True, closing=before.closing + 1))


def close_ended(before: Expected, runs: int) -> Expected:
    """Return the state after the answer to a Close that followed `runs` Runs: the job is gone, unless it ran again."""
    states = frozenset({None}) if before.runs == runs else before.states
    return before._replace(states=states, closing=before.closing - 1)


def said(before: Expected, state: Status | None) -> Expected:
    """Return the state after the server has reported `state`. Raise AssertionError if that is impossible."""
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
