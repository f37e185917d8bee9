"""Describes the end of a command, as data."""

from __future__ import annotations

import enum
import os
import signal

from gracefulexitcmd.typed import Generic
from gracefulexitcmd.value import Value

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Self

    from typing_extensions import TypeVar

    from gracefulexitcmd.reason import Why

    Out = TypeVar("Out", bytes, str, default=bytes)
else:
    Out = object


class Cause(enum.StrEnum):
    """The cause of a command's end: by itself, by a cancel, or by its timeout."""

    EXITED = "exited"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


FORCE = frozenset({"SIGKILL", "TerminateJobObject"})
"""Names of the signals and calls that no process can ignore."""

LINES_SHOWN = 10
"""Lines of stderr in the message of a failed command."""

KILLED = 9
"""The number of SIGKILL. Windows has no such signal, but an exit status means the same there."""


class SignalSent(Value):
    """A signal that was sent: its name, the seconds after the command's start, and the number of processes.

    On Windows it is CTRL_BREAK, or TerminateJobObject, which no process can ignore.
    """

    name: str
    after: float
    processes: int


class EndedProcess(Value):
    """A process that had to be ended.

    `found` is the mark by which it belongs to the command (`leader`, `group`; on Windows `leader`, `job`). `ended_by`
    is the last signal that it got before its end; None if it could not be ended. `name` is the name of its program if
    it has overwritten its arguments by a title. `why` is the reason why it had not ended by itself when it was killed;
    None if that is unknown.
    """

    pid: int
    argv: tuple[str, ...]
    found: str
    ended_by: str | None
    name: str = ""
    why: Why | None = None

    @property
    def program(self) -> str:
        """The name of its program, in printable characters."""
        if self.name or not self.argv:
            return printable(self.name) or "unknown"
        # login(1) and sshd(8) start a shell as `-bash`.
        name = os.path.basename(self.argv[0])
        return printable(name[name.startswith("-") and name[1:2].isalnum() :]) or "unknown"

    @property
    def command(self) -> str:
        """Its command line, in printable characters."""
        return shown(self.argv)

    @property
    def reason(self) -> str:
        """The reason why it had to be killed, to append to its name; empty if unknown."""
        return "" if self.why is None else f": it {self.why}"

    @property
    def killed(self) -> bool:
        """Whether it was ended by a signal or call that no process can ignore."""
        return self.ended_by in FORCE


class Holder(Value):
    """A process that kept the command's output open after the command itself had ended."""

    pid: int
    argv: tuple[str, ...]

    @property
    def command(self) -> str:
        """Its command line, in printable characters."""
        return shown(self.argv)


class CommandFailed(Exception):  # noqa: N818 - a failed command is not an error of the program
    """The error of a command that did not succeed: `exit` describes its end, `argv` is the command.

    The message holds the end of the command's stderr if that was a pipe.
    """

    def __init__(self, exit: Exit[Any]) -> None:  # noqa: A002 - the name of the attribute
        super().__init__(exit)
        self.exit = exit

    @property
    def argv(self) -> tuple[str, ...]:
        """The arguments of the command."""
        return self.exit.argv

    def __str__(self) -> str:
        said = "".join(f"\n  {line}" for line in _last_lines(self.exit.stderr))
        return f"{shown(self.argv)}: {self.exit.reason}{said}"


class Exit(Value, Generic[Out]):
    """The end of a command: an immutable value, which threads may share and pickle can store.

    `returncode` is the leader's status, as in `subprocess`: a negative number is the signal that ended it. It is None
    if the command was cancelled before its start or could not be ended, or if other code of the program reaped it.
    `duration` is in seconds. `hurried` is the reason if the grace period was shortened, such as `second Ctrl-C`.
    `stdout` and `stderr` are the collected output of pipes; None if there was no pipe, or if its output was read while
    the command ran. `dropped` is the number of bytes that `max_output` left out of them.

    It is not a dataclass: `vars(exit)` returns its fields, and `exit.replace(duration=0)` a changed copy. The same is
    true of its parts.
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
        """Return this Exit. Raise CommandFailed unless the command ended by itself with status 0."""
        if not self.ok:
            raise CommandFailed(self)
        return self

    @property
    def reason(self) -> str:
        """The end in a few words: `exit status 2`, `signal SIGSEGV`, `cancelled after 3.0 s`."""
        if self.cause is not Cause.EXITED:
            return f"{self.cause} after {self.duration:.1f} s"
        if self.returncode is None and not self.argv:
            return "no process was ended"
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
        if self == NOTHING_TO_END:
            return f"<Exit of a container: {self.reason}>"
        return f"<Exit of {shown(self.argv) or 'a container'}: {self.reason}, {len(self.census)} ended{output}>"

    @property
    def ok(self) -> bool:
        """Whether the command ended by itself with status 0."""
        return self.cause is Cause.EXITED and self.returncode == 0

    @property
    def exit_status(self) -> int:
        """The status as a shell shows it: the command's own, or 128 plus the signal that ended it.

        A stopped command counts as ended by the stop signal, or by SIGKILL if that was needed, whatever its own status
        is. It is 255 if the status is unknown.
        """
        if self.cause is not Cause.EXITED:
            return 128 + (KILLED if self.forced else _number(self.signals))
        if self.returncode is None:
            return 255
        return self.returncode if self.returncode >= 0 else 128 - self.returncode


NOTHING_TO_END: Exit[bytes] = Exit(cause=Cause.EXITED, returncode=None, duration=0.0)
"""The Exit of a container before the end of its block, and after it if no process was left."""


def _last_lines(content: bytes | str | None) -> list[str]:
    """Return the last lines of stderr, in printable characters."""
    text = content.decode(errors="backslashreplace") if isinstance(content, bytes) else content or ""
    return [printable(line) for line in text.rstrip().splitlines()[-LINES_SHOWN:]]


def shown(argv: Iterable[str]) -> str:
    """Return a command line in printable characters, on one line."""
    import shlex  # few programs need it

    return printable(shlex.join(argv))


def printable(text: str) -> str:
    """Return a text on one line, with line breaks and control characters written as backslash escapes.

    A process may give itself any name, even one that controls a terminal.
    """
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _number(sent: tuple[SignalSent, ...]) -> int:
    """Return the number of the first signal; CTRL_BREAK, which has none, counts as SIGTERM."""
    number: int = getattr(signal, sent[0].name if sent else "SIGTERM", signal.SIGTERM)
    return number


def exit_code(status: int) -> int:
    """Return a status as a signed number of 32 bits, as exit(3) takes it: 0xC000013A of Windows becomes negative."""
    return status - (1 << 32) if status >= 1 << 31 else status
