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
    """An output of this program that a step inherits as it is."""

    write_end: int | None

    def started(self, send: Callable[[int], object]) -> None:
        """Do nothing: the output stays open for this program."""

    def let_go(self) -> None:
        """Do nothing: the output stays open for this program."""

    @property
    def moved(self) -> int:
        """Return 0: the step writes to the console itself."""
        return 0
