"""The lines of the runner's own that tell, in a job's log, how processes were ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gracefulexitcmd.sequence import To, total

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gracefulexitcmd import EndedProcess, Exit, SignalSent, Stage

MOST_NAMES = 10
"""How many processes are named in a line."""


def stopping(what: str, sent: SignalSent, ahead: Sequence[Stage]) -> str:
    """Return the line for the moment when `what` gets a signal; the stage of that signal and the next are `ahead`."""
    told = f"Stopping {what}: {sent.name} to {_receivers(sent.processes, ahead[0])}"
    if len(ahead) == 1:
        return f"{told}, {_seconds(ahead)} s to finish"
    later = [f"{stage.signal.name} to {_named_part(stage)}, {_seconds([stage])} s" for stage in ahead[1:]]
    return "; then ".join([f"{told}, {_seconds(ahead[:1])} s", *later])


def stopping_stage(step: str, sent: SignalSent, ahead: tuple[Stage, ...]) -> tuple[str, ...]:
    """Return the lines for a stage in the sequence of a step that is stopped in its own way.

    Its last stages are not its own: the time until they are over is that of what earlier steps have left.
    """
    if ahead[0].to == To.OTHERS:
        return stopping_left_behind(sent, (ahead[0]._replace(wait=total(ahead)),))
    if ahead[0].signal.name == "SIGKILL":
        return ()
    return (stopping(step, sent, [stage for stage in ahead if stage.signal.name != "SIGKILL"]),)


def stopping_left_behind(sent: SignalSent, ahead: Sequence[Stage]) -> tuple[str, ...]:
    """Return the line for the moment when what steps have left behind gets a signal; none if nothing is left."""
    return (stopping("background processes", sent, ahead),) if sent.processes else ()


def hurried(reason: str) -> str:
    """The line for the moment when the grace is cut short."""
    return f"Killed at once: {reason}"


def ended(exit_: Exit) -> tuple[str, ...]:
    """The lines for the end: who needed force, and who could not be ended at all."""
    killed = _by_reason(process for process in exit_.census if process.killed)
    left = _by_reason(process for process in exit_.census if process.ended_by is None)
    return (
        *(
            f"Ended {count(len(those))}{f' that {why}' if why else ' by force'}: {_names(those)}"
            for why, those in killed
        ),
        *(f"Could not end {count(len(those))}{f' that {why}' if why else ''}: {_names(those)}" for why, those in left),
    )


def count(number: int) -> str:
    """Return a number of processes in words."""
    return "1 process" if number == 1 else f"{number} processes"


def _by_reason(processes: Iterable[EndedProcess]) -> list[tuple[str, list[EndedProcess]]]:
    """The processes by why they had not ended by themselves, which is empty where nothing tells."""
    reasons: dict[str, list[EndedProcess]] = {}
    for process in processes:
        reasons.setdefault(str(process.why or ""), []).append(process)
    return list(reasons.items())


def _receivers(number: int, stage: Stage) -> str:
    return "its leader" if stage.to == To.LEADER else count(number)


def _named_part(stage: Stage) -> str:
    """The processes that get the signal of a stage; of a step's own way, its own."""
    return {To.LEADER: "its leader", To.GROUP: "its group", To.ALL: "all", To.OWN: "all"}.get(stage.to, "the rest")


def _seconds(stages: Iterable[Stage]) -> str:
    return f"{round(total(stages), 1):g}"


def _names(processes: Sequence[EndedProcess]) -> str:
    names = ", ".join(map(_name, processes[:MOST_NAMES]))
    return names if len(processes) <= MOST_NAMES else f"{names} and {len(processes) - MOST_NAMES} more"


def _name(process: EndedProcess) -> str:
    """A program and its pid, and whether it had left its command's group; one gone too soon has no name."""
    detached = "" if process.found in ("leader", "group", "job") else ", detached"
    return f"{process.program} (pid {process.pid}{detached})"
