"""Shows the output of steps in a console of Windows, which has no pseudo-terminal of a step's own to offer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from step_runner.cli.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable

    from step_runner.cli.windows_outlet import Outlet
    from step_runner.runner.context import Stream


class Console(Screen):
    """Steps write to the console itself, with its colours and characters; what is no console gets a pipe."""

    def _open(self, outlet: Outlet) -> Stream:
        return _Own(outlet.descriptor) if os.isatty(outlet.descriptor) else super()._open(outlet)


class _Own(NamedTuple):
    """An output of this program, which a step gets as it is."""

    write_end: int | None

    def started(self, send: Callable[[int], object]) -> None:
        """It stays ours."""

    def let_go(self) -> None:
        """It stays ours."""

    @property
    def moved(self) -> int:
        """Nothing: the step writes to the console itself."""
        return 0
