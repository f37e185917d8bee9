"""What to run, and how it is to be ended."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from gracefulexitcmd.duration import check_seconds
from gracefulexitcmd.sequence import Stage

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from gracefulexitcmd import Container
    from gracefulexitcmd.exit import SignalSent

StrPath: TypeAlias = "str | os.PathLike[str]"
Stream: TypeAlias = "int | IO[Any] | None"
"""As in `subprocess`: None inherits, DEVNULL, PIPE, a descriptor or an open file."""

GRACE = 30.0
"""Seconds between the stop signal and SIGKILL where nothing else is said."""

Stopping: TypeAlias = "Callable[[SignalSent, tuple[Stage, ...]], object]"
"""Called just before the signal of a stage is sent, with that stage and those that follow; it must not wait.

Their waits together are the seconds until SIGKILL.
"""


@dataclass(frozen=True, slots=True)
class Request:
    """A command, checked; the fields are those of `Cmd`."""

    argv: Sequence[StrPath]
    grace: float = GRACE
    timeout: float | None = None
    env: Mapping[str, str] | None = None
    cwd: StrPath | None = None
    stdin: Stream = None
    stdout: Stream = None
    stderr: Stream = None
    input: bytes | None = None
    stop: tuple[Stage, ...] = (Stage(),)
    container: Container | None = None

    def __post_init__(self) -> None:
        if isinstance(self.argv, str | bytes):
            raise TypeError(f'argv is a list of words, not a text; for a shell write ["sh", "-c", {self.argv!r}]')
        if not self.argv:
            raise ValueError("argv is empty: it needs at least the program")
        check_seconds("grace", self.grace)
        check_seconds("timeout", self.timeout)
        if self.input is not None and self.stdin is not None:
            raise ValueError("input and stdin cannot both be given: input is written to a pipe that becomes stdin")
        if self.stdin == subprocess.PIPE:
            raise ValueError("stdin cannot be a pipe: give what is to be written as input")
        if sys.platform == "win32" and self.stop != (Stage(),):
            raise ValueError("stop cannot be chosen on Windows: what can be sent there is CTRL_BREAK")
        if self.stdout == subprocess.STDOUT:
            raise ValueError("stdout cannot be STDOUT: that is for stderr, which then goes where stdout goes")
