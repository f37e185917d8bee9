"""The runner's own lines in a job's log that report how processes were ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gracefulexitcmd.sequence import To, total

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gracefulexitcmd import EndedProcess, Exit, SignalSent, Stage

MOST_NAMES = 10
"""Most processes named in a line."""


def stopping(what: str, sent: SignalSent, ahead: Sequence[Stage]) -> str:
    """Return the line for a signal to `what`; `ahead` are the stage of that signal and the later ones."""
    notice = f"Stopping {what}: {sent.name} to {_receivers(sent.processes, ahead[0])}"
    if len(ahead) == 1:
        return f"{notice}, {_seconds(ahead)} s to finish"
    later = [f"{stage.signal.name} to {_named_part(stage)}, {_seconds([stage])} s" for stage in ahead[1:]]
    return "; then ".join([f"{notice}, {_seconds(ahead[:1])} s", *later])


def stopping_stage(step: str, sent: SignalSent, ahead: tuple[Stage, ...]) -> tuple[str, ...]:
    """Return the lines for a stage of a step's own stop sequence.

    Its last stages are not the step's own. The time until they end is the grace period of background processes of
    earlier steps.
    """
    if ahead[0].to == To.OTHERS:
        return stopping_left_behind(sent, (ahead[0]._replace(wait=total(ahead)),))
    if ahead[0].signal.name == "SIGKILL":
        return ()
    return (stopping(step, sent, [stage for stage in ahead if stage.signal.name != "SIGKILL"]),)


def stopping_left_behind(sent: SignalSent, ahead: Sequence[Stage]) -> tuple[str, ...]:
    """Return the line for a signal to background processes; none if there are none."""
    return (stopping("background processes", sent, ahead),) if sent.processes else ()


def hurried(reason: str) -> str:
    """Return the line for a grace period that is cut short."""
    return f"Killed at once: {reason}"


def ended(exit_: Exit) -> tuple[str, ...]:
    """Return the lines for the end: the processes that were killed, and those that could not be ended."""
    killed = [process for process in exit_.census if process.killed]
    left = [process for process in exit_.census if process.ended_by is None]
    return (*_by_reason("Ended", killed, " by force"), *_by_reason("Could not end", left))


def count(number: int) -> str:
    """Return a number of processes as text."""
    return "1 process" if number == 1 else f"{number} processes"


def _by_reason(what: str, processes: Iterable[EndedProcess], unknown: str = "") -> Iterator[str]:
    """Yield a line for each reason that kept some of the processes from ending; `unknown` if the reason is unknown."""
    reasons: dict[str, list[EndedProcess]] = {}
    for process in processes:
        reasons.setdefault(f" that {process.why}" if process.why else unknown, []).append(process)
    for reason, those in reasons.items():
        yield f"{what} {count(len(those))}{reason}: {_names(those)}"


def _receivers(number: int, stage: Stage) -> str:
    return "its leader" if stage.to == To.LEADER else count(number)


def _named_part(stage: Stage) -> str:
    """Return the receivers of a stage's signal; in a step's own sequence, those of the step."""
    return {To.LEADER: "its leader", To.GROUP: "its group", To.ALL: "all", To.OWN: "all"}.get(stage.to, "the rest")


def _seconds(stages: Iterable[Stage]) -> str:
    return f"{round(total(stages), 1):g}"


def _names(processes: Sequence[EndedProcess]) -> str:
    names = ", ".join(map(_name, processes[:MOST_NAMES]))
    return names if len(processes) <= MOST_NAMES else f"{names} and {len(processes) - MOST_NAMES} more"


def _name(process: EndedProcess) -> str:
    """Return a program and its pid, and whether it had left its command's group."""
    detached = "" if process.found in ("leader", "group", "job") else ", detached"
    return f"{process.program} (pid {process.pid}{detached})"
