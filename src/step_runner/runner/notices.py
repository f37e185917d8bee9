"""The lines of the runner's own that tell, in a job's log, how processes were ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gracefulexitcmd import EndedProcess, Exit, SignalSent

MOST_NAMES = 10
"""How many processes are named in a line."""


def stopping(what: str, sent: SignalSent, grace: float) -> str:
    """The line for the moment when `what` gets its first signal; SIGKILL follows after `grace` seconds."""
    return f"Stopping {what}: {sent.name} to {_count(sent.processes)}, {round(grace, 1):g} s to finish"


def stopping_left_behind(sent: SignalSent, grace: float) -> tuple[str, ...]:
    """The line for the moment when what steps have left behind gets its first signal; none where it is nobody."""
    return (stopping("what steps have left behind", sent, grace),) if sent.processes else ()


def hurried(reason: str) -> str:
    """The line for the moment when the grace is cut short."""
    return f"Killed at once: {reason}"


def ended(exit_: Exit) -> tuple[str, ...]:
    """The lines for the end: who needed force, and who could not be ended at all."""
    signal = exit_.signals[0].name if exit_.signals else "SIGTERM"
    killed = [process for process in exit_.census if process.killed]
    left = [process for process in exit_.census if process.ended_by is None]
    return (
        *([f"Ended {_count(len(killed))} that ignored {signal}: {_names(killed)}"] if killed else []),
        *([f"Could not end {_count(len(left))}: {_names(left)}"] if left else []),
    )


def _count(number: int) -> str:
    return "1 process" if number == 1 else f"{number} processes"


def _names(processes: Sequence[EndedProcess]) -> str:
    names = ", ".join(map(_name, processes[:MOST_NAMES]))
    return names if len(processes) <= MOST_NAMES else f"{names} and {len(processes) - MOST_NAMES} more"


def _name(process: EndedProcess) -> str:
    """A program and its pid, and whether it had left its command's group; one gone too soon has no name."""
    detached = "" if process.found in ("leader", "group", "job") else ", detached"
    return f"{process.program} (pid {process.pid}{detached})"
