"""Waits for several handles at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from ctypes import wintypes

from gracefulexitcmd.attendance import Attended
from gracefulexitcmd.windows import calls
from gracefulexitcmd.windows.process import has_exited as is_signalled

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import TypeAlias

Reaction: TypeAlias = Callable[[], object]

Ready: TypeAlias = tuple[()]
"""The result of `wait` is empty: `react` asks for the ready handles, so an exception between the two loses nothing."""

MOST_HANDLES = 64
"""MAXIMUM_WAIT_OBJECTS of WaitForMultipleObjects."""

LONGEST_WAIT = 86_400.0
"""Seconds, as on other systems; WaitForMultipleObjects accepts at most 49 days."""


class Poller(Attended):
    """Calls a function while its handle is signalled. The caller serialises all calls but `wait`."""

    def __init__(self) -> None:
        super().__init__()
        self._wake: int = calls.create_event(None, True, False, None)
        # Replaced as a whole, never changed: other threads iterate over it in `wait`.
        self._watched: dict[int, Reaction] = {}

    @property
    def room(self) -> int:
        """The number of further handles that can be watched."""
        return MOST_HANDLES - 1 - len(self._watched)

    def watch(self, handle: int, then: Reaction, *, write: bool = False) -> None:
        """Call `then` whenever the handle is signalled; `write` makes no difference on Windows."""
        self._watched = {**self._watched, handle: then}

    def forget(self, handle: int) -> None:
        """Stop watching a handle, without closing it. Do nothing if it is not watched."""
        self._watched = {watched: then for watched, then in self._watched.items() if watched != handle}

    def wait(self, timeout: float | None) -> Ready:
        """Block until a handle is signalled, for at most `timeout` seconds, and at most a day."""
        seconds = LONGEST_WAIT if timeout is None else min(timeout, LONGEST_WAIT)
        handles = (self._wake, *self._watched)
        array = (wintypes.HANDLE * len(handles))(*handles)
        try:
            calls.wait_for_any(len(handles), array, False, math.ceil(seconds * 1000))
        except OSError as error:  # another thread has just forgotten and closed one of them
            if error.winerror != calls.ERROR_INVALID_HANDLE:
                raise
        return ()

    def react(self, _ready: Ready) -> None:
        """Call the function of each handle that is signalled now."""
        if not self._closing:
            calls.reset_event(self._wake)
        for handle, then in self._watched.items():
            if not self._closing and self._watched.get(handle) is then and is_signalled(handle):
                then()

    def _ring(self) -> None:
        calls.set_event(self._wake)

    def _release(self) -> None:
        calls.close_handle(self._wake)
