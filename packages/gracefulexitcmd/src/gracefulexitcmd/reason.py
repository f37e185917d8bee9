"""Why a process had not ended when its time was over."""

from __future__ import annotations

import enum
from typing import assert_never

from gracefulexitcmd.named_tuple import NamedTuple


class Reason(enum.StrEnum):
    """What the kernel told of a process just before SIGKILL."""

    IGNORED = "ignored"
    BLOCKED = "blocked"
    UNFINISHED = "unfinished"
    LATE = "late"
    STOPPED = "stopped"
    IN_KERNEL = "in kernel"


class Why(NamedTuple):
    """A reason and its detail.

    That is the kernel's function for IN_KERNEL, empty where it is not told, and the name of the last signal for others.
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
