"""What happened to a command, as data."""

from __future__ import annotations

import enum
import os
import re
import shlex
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gracefulexitcmd.reason import Why


class Cause(enum.StrEnum):
    """Why a command ended: by itself, because it was cancelled, or because its time was over."""

    EXITED = "exited"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


FORCE = frozenset({"SIGKILL", "TerminateJobObject"})
"""What nobody can ignore."""

KILLED = 9
"""The number of SIGKILL, also on Windows, which has no such signal, so that an exit status means the same."""


@dataclass(frozen=True, slots=True)
class SignalSent:
    """A signal that was sent: its name, seconds after the command's start, and to how many processes.

    On Windows it is CTRL_BREAK, or TerminateJobObject, which nobody can ignore.
    """

    name: str
    after: float
    processes: int


@dataclass(frozen=True, slots=True)
class EndedProcess:
    """A process that had to be ended.

    `found` says how it was known to belong to the command (`leader`, `group`; on Windows `leader`, `job`). `ended_by`
    is the last signal that it was sent before it was gone, None when it could not be ended. `name` is that of its
    program where it has given itself a title, from which it cannot be told. `why` says why it had not ended by itself
    when it was killed, None where nothing tells.
    """

    pid: int
    argv: tuple[str, ...]
    found: str
    ended_by: str | None
    name: str = ""
    why: Why | None = None

    @property
    def program(self) -> str:
        """The name of its program, as it can be shown."""
        if self.name or not self.argv:
            return printable(self.name) or "unknown"
        # login(1) and sshd(8) start a shell as `-bash`.
        return printable(re.sub(r"^-(?=\w)", "", os.path.basename(self.argv[0]))) or "unknown"

    @property
    def command(self) -> str:
        """Its command line, as it can be shown."""
        return printable(shlex.join(self.argv))

    @property
    def reason(self) -> str:
        """Why it had to be killed, to be put behind its name; empty where nothing tells."""
        return "" if self.why is None else f": it {self.why}"

    @property
    def killed(self) -> bool:
        """Whether it was ended by what nobody can ignore."""
        return self.ended_by in FORCE


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that kept the command's output open after the command itself had ended."""

    pid: int
    argv: tuple[str, ...]

    @property
    def command(self) -> str:
        """Its command line, as it can be shown."""
        return printable(shlex.join(self.argv))


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended.

    `status` is the leader's, as in `subprocess`: a negative number is the signal that ended it. It is None
    when the command was cancelled before it started, when it could not be ended, or when another part of the
    program took its status. `duration` is in seconds. `hurried` is the reason where the grace was cut short, such as
    `second Ctrl-C`. `stdout` and `stderr` are None unless they were pipes.
    """

    cause: Cause
    status: int | None
    duration: float
    forced: bool = False
    signals: tuple[SignalSent, ...] = ()
    census: tuple[EndedProcess, ...] = ()
    holders: tuple[Holder, ...] = ()
    hurried: str | None = None
    stdout: bytes | None = None
    stderr: bytes | None = None

    def beside(self, others: Exit, after: float) -> Exit:
        """The same, with others who were ended as well, from `after` seconds after the command's start on."""
        sent = tuple(replace(one, after=one.after + after) for one in others.signals)
        return replace(
            self,
            forced=self.forced or others.forced,
            signals=self.signals + sent,
            census=self.census + others.census,
            hurried=self.hurried or others.hurried,
        )

    @property
    def ok(self) -> bool:
        """Whether the command ended by itself and with status 0."""
        return self.cause is Cause.EXITED and self.status == 0

    @property
    def exit_status(self) -> int:
        """The status as a shell shows it: the command's own, or 128 plus the signal that ended it.

        A command that was stopped counts as ended by the stop signal, or by SIGKILL where that was needed,
        whatever status it made of it.
        """
        if self.cause is not Cause.EXITED:
            return 128 + (KILLED if self.forced else _number(self.signals))
        if self.status is None:
            return 255
        return self.status if self.status >= 0 else 128 - self.status


def printable(text: str) -> str:
    """A text on one line: what would break it, or mean something to a terminal, is written with a backslash.

    A process may call itself anything.
    """
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _number(sent: tuple[SignalSent, ...]) -> int:
    """The number of the first signal; CTRL_BREAK, which has none, counts as SIGTERM."""
    number: int = getattr(signal, sent[0].name if sent else "SIGTERM", signal.SIGTERM)
    return number


def exit_code(status: int) -> int:
    """A status as a signed number of 32 bits, which exit(3) takes: 0xC000013A of Windows is a negative one."""
    return status - (1 << 32) if status >= 1 << 31 else status
