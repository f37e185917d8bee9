"""The common arguments of all ways to run a command, for type checkers; `Cmd` explains them."""

from __future__ import annotations

from typing import TypedDict

TYPE_CHECKING = False

if TYPE_CHECKING:
    import signal
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from gracefulexitcmd import Container, ManualContainer
    from gracefulexitcmd.request import Stopping, Stream, StrPath
    from gracefulexitcmd.sequence import StageLike


class Options(TypedDict, total=False):
    """The options of a command, except its argv and whether its streams are text."""

    grace: float | None
    timeout: float | None
    env: Mapping[str, str] | None
    cwd: StrPath | None
    stdin: Stream
    stdout: Stream
    stderr: Stream
    input: bytes | str | None
    capture_output: bool
    stop_signal: signal.Signals
    stop: Iterable[StageLike] | None
    container: Container | ManualContainer | None
    contain: bool
    stopping: Stopping | None
    max_output: int | None
    foreground: bool
    pass_fds: Collection[int]
    user: str | int | None
    group: str | int | None
    extra_groups: Sequence[str | int] | None
    umask: int
