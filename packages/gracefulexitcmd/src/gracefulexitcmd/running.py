"""One call that runs a command to its end."""

from __future__ import annotations

import subprocess

from gracefulexitcmd.cmd import Cmd
from gracefulexitcmd.typed import overload

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Literal, Unpack

    from gracefulexitcmd.exit import Exit
    from gracefulexitcmd.options import Options
    from gracefulexitcmd.request import StrPath


@overload
def run(
    argv: Sequence[StrPath],
    *,
    check: bool = False,
    text: Literal[False] | None = None,
    encoding: None = None,
    errors: None = None,
    **options: Unpack[Options],
) -> Exit[bytes]: ...


@overload
def run(
    argv: Sequence[StrPath],
    *,
    check: bool = False,
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    **options: Unpack[Options],
) -> Exit[str]: ...


def run(argv: Sequence[StrPath], *, check: bool = False, capture_output: bool = True, **options: Any) -> Exit[Any]:
    """Run a command to its end, and return how it ended; the arguments are those of `Cmd`.

    Unlike in `subprocess`, its output is captured by default: `stdout`, `stderr` or `capture_output=False` change that.
    Raise CommandFailed with `check`, unless the command ended by itself with status 0. Raise OSError when it cannot
    start, and TypeError or ValueError for arguments that are not valid. Any thread may call this.
    """
    if capture_output:
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
    return Cmd(argv, **options).run(check=check)
