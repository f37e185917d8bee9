"""The command to run, and how to stop it."""

from __future__ import annotations

import subprocess
import sys

from gracefulexitcmd.duration import check_seconds
from gracefulexitcmd.sequence import Stage
from gracefulexitcmd.typed import NamedTuple

TYPE_CHECKING = False

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import IO, Any, Self, TypeAlias

    from gracefulexitcmd import ManualContainer
    from gracefulexitcmd.exit import SignalSent
    from gracefulexitcmd.text import Text

StrPath: TypeAlias = "str | os.PathLike[str]"
Stream: TypeAlias = "int | IO[Any] | None"
"""As in `subprocess`: None inherits, DEVNULL, PIPE, a descriptor or an open file."""

GRACE = 30.0
"""The default seconds between the stop signal and SIGKILL."""

Stopping: TypeAlias = "Callable[[SignalSent, tuple[Stage, ...]], object]"
"""Called just before the signal of a stage, with this stage and the later ones. It must not wait.

The sum of their waits is the seconds until SIGKILL.
"""


class Request(NamedTuple):
    """A command; the fields are those of `Cmd`."""

    argv: Sequence[StrPath]
    grace: float = GRACE
    timeout: float | None = None
    env: Mapping[str, str] | None = None
    cwd: StrPath | None = None
    stdin: Stream = None
    stdout: Stream = None
    stderr: Stream = None
    input: bytes | str | None = None
    stop: tuple[Stage, ...] = (Stage(),)
    container: ManualContainer | None = None
    contain: bool = False
    text: Text | None = None
    max_output: int | None = None
    foreground: bool = False
    pass_fds: Collection[int] = ()
    user: str | int | None = None
    group: str | int | None = None
    extra_groups: Sequence[str | int] | None = None
    umask: int = -1

    def check(self) -> Self:
        """Return it. Raise TypeError or ValueError for arguments that are not valid."""
        if isinstance(self.argv, str | bytes):
            raise TypeError(f'argv is a list of words, not a text; for a shell write ["sh", "-c", {self.argv!r}]')
        if not self.argv:
            raise ValueError("argv is empty: it needs at least the program")
        check_seconds("grace", self.grace)
        check_seconds("timeout", self.timeout)
        if self.input is not None and self.stdin is not None:
            raise ValueError("input and stdin cannot both be given: input is written to a pipe that becomes stdin")
        if isinstance(self.input, str) and self.text is None:
            raise TypeError("input is text, but the streams are bytes: give text=True, or encode the input")
        if isinstance(self.input, bytes) and self.text is not None:
            raise TypeError("input is bytes, but the streams are text: leave out text, encoding and errors")
        if self.max_output is not None and self.max_output < 0:
            raise ValueError(f"max_output is {self.max_output}: it must be a number of bytes, 0 or more")
        if sys.platform == "win32" and self.stop != (Stage(),):
            raise ValueError("stop cannot be chosen on Windows: what can be sent there is CTRL_BREAK")
        posix_only = (self.pass_fds, self.user, self.group, self.extra_groups, self.foreground)
        if sys.platform == "win32" and (any(one not in ((), None, False) for one in posix_only) or self.umask >= 0):
            raise ValueError("pass_fds, user, group, extra_groups, umask and foreground do not exist on Windows")
        if self.contain and self.container is not None:
            raise ValueError("contain and container cannot both be given: a container is emptied by contain()")
        if self.stdout == subprocess.STDOUT:
            raise ValueError("stdout cannot be STDOUT: that is for stderr, which then goes where stdout goes")
        return self

    @property
    def feeds(self) -> bool:
        """Whether this program writes to the command's stdin through a pipe."""
        return self.input is not None or self.stdin == subprocess.PIPE

    @property
    def content(self) -> bytes | None:
        """The content of its stdin, which then ends; None if a caller writes to it."""
        if isinstance(self.input, str):
            assert self.text is not None
            return self.text.encode(self.input)
        return self.input
