"""What happened to a command, as data."""

from __future__ import annotations

import enum
import os
import re
import signal
from typing import TYPE_CHECKING, Any, Generic

from gracefulexitcmd.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from typing_extensions import TypeVar

    from gracefulexitcmd.reason import Why

    Out = TypeVar("Out", bytes, str, default=bytes)
else:
    from typing import TypeVar

    Out = TypeVar("Out", bytes, str)


class Cause(enum.StrEnum):
    """Why a command ended: by itself, because it was cancelled, or because its time was over."""

    EXITED = "exited"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


FORCE = frozenset({"SIGKILL", "TerminateJobObject"})
"""What nobody can ignore."""

LINES_SHOWN = 10
"""Lines of stderr in the message of a command that failed."""

KILLED = 9
"""The number of SIGKILL, also on Windows, which has no such signal, so that an exit status means the same."""


class SignalSent(Value):
    """A signal that was sent: its name, seconds after the command's start, and to how many processes.

    On Windows it is CTRL_BREAK, or TerminateJobObject, which nobody can ignore.
    """

    name: str
    after: float
    processes: int


class EndedProcess(Value):
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
        return shown(self.argv)

    @property
    def reason(self) -> str:
        """Why it had to be killed, to be put behind its name; empty where nothing tells."""
        return "" if self.why is None else f": it {self.why}"

    @property
    def killed(self) -> bool:
        """Whether it was ended by what nobody can ignore."""
        return self.ended_by in FORCE


class Holder(Value):
    """A process that kept the command's output open after the command itself had ended."""

    pid: int
    argv: tuple[str, ...]

    @property
    def command(self) -> str:
        """Its command line, as it can be shown."""
        return shown(self.argv)


class CommandFailed(Exception):  # noqa: N818 - a command that failed is no fault of the program's
    """A command was to succeed and did not: `exit` is what happened, `argv` the command.

    The message holds the end of what the command wrote to stderr, where that was a pipe.
    """

    def __init__(self, exit: Exit[Any]) -> None:  # noqa: A002 - the name of the attribute
        super().__init__(exit)
        self.exit = exit

    @property
    def argv(self) -> tuple[str, ...]:
        """The command."""
        return self.exit.argv

    def __str__(self) -> str:
        said = "".join(f"\n  {line}" for line in _last_lines(self.exit.stderr))
        return f"{shown(self.argv)}: {self.exit.reason}{said}"


class Exit(Value, Generic[Out]):
    """How a command ended: a value that never changes, which threads may share and pickle may carry.

    `returncode` is the leader's status, as in `subprocess`: a negative number is the signal that ended it. It is None
    when the command was cancelled before it started, when it could not be ended, or when another part of the
    program took its status. `duration` is in seconds. `hurried` is the reason where the grace was cut short, such as
    `second Ctrl-C`. `stdout` and `stderr` are what came out of pipes and was collected: None where there was no pipe,
    or its content was read while the command ran. `dropped` is the number of bytes that `max_output` left out of them.
    """

    cause: Cause
    returncode: int | None
    duration: float
    forced: bool = False
    signals: tuple[SignalSent, ...] = ()
    census: tuple[EndedProcess, ...] = ()
    holders: tuple[Holder, ...] = ()
    hurried: str | None = None
    stdout: Out | None = None
    stderr: Out | None = None
    dropped: int = 0
    argv: tuple[str, ...] = ()

    def check(self) -> Self:
        """Return this Exit. Raises CommandFailed unless the command ended by itself and with status 0."""
        if not self.ok:
            raise CommandFailed(self)
        return self

    @property
    def reason(self) -> str:
        """How it ended, in a few words: `exit status 2`, `signal SIGSEGV`, `cancelled after 3.0 s`."""
        if self.cause is not Cause.EXITED:
            return f"{self.cause} after {self.duration:.1f} s"
        if self.returncode is None:
            return "its status is unknown: another part of the program took it"
        if self.returncode >= 0:
            return f"exit status {self.returncode}"
        named = -self.returncode in signal.Signals.__members__.values()
        return f"signal {signal.Signals(-self.returncode).name if named else -self.returncode}"

    def __repr__(self) -> str:
        streams: tuple[tuple[str, bytes | str | None], ...] = (("stdout", self.stdout), ("stderr", self.stderr))
        output = "".join(
            f", {name}=<{len(content)} {'bytes' if isinstance(content, bytes) else 'characters'}>"
            for name, content in streams
            if content is not None
        )
        return f"<Exit of {shown(self.argv)}: {self.reason}, {len(self.census)} ended{output}>"

    @property
    def ok(self) -> bool:
        """Whether the command ended by itself and with status 0."""
        return self.cause is Cause.EXITED and self.returncode == 0

    @property
    def exit_status(self) -> int:
        """The status as a shell shows it: the command's own, or 128 plus the signal that ended it.

        A command that was stopped counts as ended by the stop signal, or by SIGKILL where that was needed,
        whatever status it made of it.
        """
        if self.cause is not Cause.EXITED:
            return 128 + (KILLED if self.forced else _number(self.signals))
        if self.returncode is None:
            return 255
        return self.returncode if self.returncode >= 0 else 128 - self.returncode


NOTHING_TO_END: Exit[bytes] = Exit(cause=Cause.EXITED, returncode=None, duration=0.0)
"""The Exit of a container in which nothing was left."""


def _last_lines(content: bytes | str | None) -> list[str]:
    """The end of what was written to stderr, as it can be shown."""
    text = content.decode(errors="backslashreplace") if isinstance(content, bytes) else content or ""
    return [printable(line) for line in text.rstrip().splitlines()[-LINES_SHOWN:]]


def shown(argv: Iterable[str]) -> str:
    """Return a command line as it can be shown, on one line."""
    import shlex  # for few programs

    return printable(shlex.join(argv))


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
