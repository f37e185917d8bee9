"""Shows the output of steps in a console of Windows, without a pseudo-terminal for each step."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from step_runner.cli.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable

    from step_runner.cli.windows_outlet import Outlet
    from step_runner.runner.context import Stream


class Console(Screen):
    """Steps write to the console itself, with its colours and characters; other outputs get a pipe."""

    def _open(self, outlet: Outlet) -> Stream:
        return _Inherited(outlet.descriptor) if os.isatty(outlet.descriptor) else super()._open(outlet)


class _Inherited(NamedTuple):
    """An output of this program that a step inherits as it is. It stays open for this program."""

    write_end: int | None
    moved: int = 0

    def started(self, send: Callable[[int], object]) -> None:
        """Do nothing."""

    def let_go(self) -> None:
        """Do nothing."""
