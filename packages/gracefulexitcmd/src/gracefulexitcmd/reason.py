"""The reason why a process had not ended after its grace period."""

from __future__ import annotations

import enum

from gracefulexitcmd.typed import NamedTuple, assert_never


class Reason(enum.StrEnum):
    """The state of a process, as the kernel reports it just before SIGKILL."""

    IGNORED = "ignored"
    BLOCKED = "blocked"
    UNFINISHED = "unfinished"
    LATE = "late"
    STOPPED = "stopped"
    IN_KERNEL = "in kernel"


class Why(NamedTuple):
    """A reason and its detail.

    The detail is the kernel's function for IN_KERNEL, empty if the kernel hides it. For the other reasons it is the
    name of the last signal.
    """

    reason: Reason
    detail: str

    def __str__(self) -> str:
        """Return what the process did, as the end of a sentence."""
        match self.reason:
            case Reason.IGNORED:
                return f"ignored {self.detail}"
            case Reason.BLOCKED:
                return f"blocked {self.detail}"
            case Reason.UNFINISHED:
                return f"handled {self.detail}, but had not finished"
            case Reason.LATE:
                return f"never received {self.detail}, as it started too late"
            case Reason.STOPPED:
                return "was stopped"
            case Reason.IN_KERNEL:
                return f"waited in the kernel in {self.detail}" if self.detail else "waited in the kernel"
            case _:
                assert_never(self.reason)
