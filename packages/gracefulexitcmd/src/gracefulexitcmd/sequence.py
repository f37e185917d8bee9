"""The stop sequence as a value: its signals, their receivers, and the wait after each.

SIGKILL to all is always last, and is not written.
"""

from __future__ import annotations

import enum
import signal

from gracefulexitcmd.duration import check_seconds
from gracefulexitcmd.typed import NamedTuple

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

__all__ = ["Stage", "To", "fitted", "total"]


class To(enum.Flag):
    """The receivers of a signal among the processes of a stop; parts can be combined.

    LEADER is the process that was started, MATES the rest of its process group. DESCENDANTS are the processes that it
    has started outside of that group. OTHERS are the processes of its container that other commands have started.
    """

    LEADER = enum.auto()
    MATES = enum.auto()
    DESCENDANTS = enum.auto()
    OTHERS = enum.auto()
    GROUP = LEADER | MATES
    OWN = GROUP | DESCENDANTS
    ALL = OWN | OTHERS


class Stage(NamedTuple):
    """A signal, the seconds to wait before the next stage, and the receivers.

    A wait of None is an equal share of the time that the other stages leave.
    """

    signal: signal.Signals = signal.SIGTERM
    wait: float | None = None
    to: To = To.ALL


StageLike: TypeAlias = "tuple[int, float | None] | tuple[int, float | None, To | str]"
"""A Stage as a plain tuple: the signal may be a number, and `to` one of "leader", "group", "own", "others", "all"."""

NOT_TO_BE_SENT = frozenset(getattr(signal, name) for name in ("SIGSTOP", "SIGTSTP", "SIGCONT") if hasattr(signal, name))
"""Signals that suspend or continue a process; SIGCONT follows each signal of the sequence anyway."""


def stages(given: Iterable[StageLike]) -> tuple[Stage, ...]:
    """Return the checked sequence. Raise TypeError or ValueError if it is not valid."""
    checked = tuple(_stage(*one) for one in given)
    if not checked:
        raise ValueError("stop is empty: it needs at least one signal, SIGKILL follows by itself")
    return checked


def _stage(number: int, wait: float | None = None, to: To | str = To.ALL) -> Stage:
    sign, parts = signal.Signals(number), _parts(to)
    if sign in NOT_TO_BE_SENT:
        raise ValueError(f"{sign.name} does not ask a process to end: choose another signal for stop")
    if sign.name == "SIGKILL" and parts == To.ALL:
        raise ValueError("SIGKILL to all is always the last signal of stop: leave it out")
    check_seconds("a wait of stop", wait)
    return Stage(sign, wait, parts)


def _parts(to: To | str) -> To:
    if isinstance(to, To):
        return to
    names = [name.lower() for name in To.__members__]
    if to not in names:
        raise ValueError(f'"{to}" is not a valid target: write one of {", ".join(names)}')
    return To[to.upper()]


def fitted(sequence: tuple[Stage, ...], grace: float) -> tuple[Stage, ...]:
    """Return the sequence within `grace` seconds: waits that exceed them in sum shrink in proportion."""
    known = total(sequence)
    scale = min(1.0, grace / known) if known else 1.0
    unknown = sum(stage.wait is None for stage in sequence)
    share = max(0.0, grace - known) / unknown if unknown else 0.0
    return tuple(stage._replace(wait=share if stage.wait is None else stage.wait * scale) for stage in sequence)


def total(sequence: Iterable[Stage]) -> float:
    """Return the seconds of the sequence until SIGKILL, as far as they are known."""
    return sum(stage.wait or 0.0 for stage in sequence)
