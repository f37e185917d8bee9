"""Records the processes that a teardown has found, the signals that it has sent, and the end of each process."""

from __future__ import annotations

from gracefulexitcmd import clock
from gracefulexitcmd.exit import FORCE, EndedProcess, SignalSent

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any


class Census:
    """The processes of one teardown by pid; it is the same on all systems."""

    def __init__(self) -> None:
        self.signals: list[SignalSent] = []
        self.started_at = clock.now()
        self._found: dict[int, EndedProcess] = {}
        self._alive: set[int] = set()
        self._last_signal: dict[int, str] = {}

    def record(self) -> dict[str, Any]:
        """Return the fields of an Exit about signals and the processes that got them; none if there are none."""
        if not self.signals and not self._found:
            return {}
        forced = any(sent.name in FORCE for sent in self.signals)
        return {"forced": forced, "signals": tuple(self.signals), "census": self.census()}

    def census(self) -> tuple[EndedProcess, ...]:
        """Return the end of each process that got a signal or is alive.

        Leave out a process that was started to clean up and that ended by itself.
        """
        return tuple(
            found.replace(ended_by=None if pid in self._alive else self._last_signal.get(pid))
            for pid, found in self._found.items()
            if pid in self._last_signal or pid in self._alive
        )

    def _note(self, name: str, at: float, receivers: Collection[int]) -> None:
        """Note a signal that was sent at a time of the monotonic clock, and the pids of its receivers."""
        self._last_signal.update(dict.fromkeys(receivers, name))
        self.signals.append(SignalSent(name, at - self.started_at, len(receivers)))
