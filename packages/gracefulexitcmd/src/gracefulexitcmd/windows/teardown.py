"""The processes of a job that are being stopped: who they are, what they were sent, when the last has gone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gracefulexitcmd import clock
from gracefulexitcmd.exit import EndedProcess, SignalSent
from gracefulexitcmd.ladder import Event
from gracefulexitcmd.named_tuple import NamedTuple
from gracefulexitcmd.windows import calls, console, process

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gracefulexitcmd.sequence import Stage
    from gracefulexitcmd.windows.container import Container
    from gracefulexitcmd.windows.job import JobObject
    from gracefulexitcmd.windows.poller import Poller

BREAK = "CTRL_BREAK"
FORCE = "TerminateJobObject"

LOOK_AGAIN = 0.01
"""Seconds between two looks at processes that this user may not wait for."""

SPARE_HANDLES = 8
"""How many handles a poller keeps free for others than members."""


class _Found(NamedTuple):
    argv: tuple[str, ...]
    how: str


class Teardown:
    """The targets of a stop, from the first signal until nobody is left.

    `leader` is the argv of the process that was started, by its number; `groups` gives the console groups that are
    to be told. What happens is told to `tell`.
    """

    def __init__(
        self,
        job: JobObject,
        leader: dict[int, tuple[str, ...]],
        groups: Callable[[], Collection[int]],
        poller: Poller,
        tell: Callable[[Event], None],
    ) -> None:
        self.look_at: float | None = None
        """When to look again, on the monotonic clock, where nobody tells that a member ended."""
        self.signals: list[SignalSent] = []
        self.started_at = clock.now()
        self._job = job
        self._leader = leader
        self._groups = groups
        self._poller = poller
        self._tell = tell
        self._found: dict[int, _Found] = {}
        self._last_signal: dict[int, str] = {}
        self._alive: set[int] = set()
        self._watched: set[int] = set()

    @classmethod
    def emptying(cls, container: Container, poller: Poller, tell: Callable[[Event], None]) -> Teardown:
        """Make the teardown of all that is in a container."""
        return cls(container.job, {}, container.groups, poller, tell)

    told_alive = True
    """A break is for everybody, so somebody is left of those who were told it as long as somebody is left."""

    def count(self, *, quickly: bool) -> None:
        """Count before the stop signal, so that who ends by it at once is in the census."""
        self._look()

    def look(self) -> bool:
        """See who is left, before a further signal is sent; False where nobody is."""
        self._look()
        return bool(self._alive)

    def next_signal(self, _stage: Stage) -> SignalSent:
        """What `terminate` is about to send, and to how many."""
        return SignalSent(BREAK, clock.now() - self.started_at, len(self._alive))

    def terminate(self, _stage: Stage) -> None:
        """Send CTRL_BREAK to every console group; all of the job count as told, as nobody tells who is in a group."""
        sent_at = clock.now()
        reached = [console.send_break(group) for group in self._groups()]
        if any(reached):
            self._note(BREAK, sent_at)
        else:
            self._tell(Event.UNREACHABLE)

    def terminate_late(self) -> None:
        """Do nothing: the job names everybody at any time."""

    def kill(self) -> None:
        """End the whole job."""
        if self._look():
            sent_at = clock.now()
            self._job.terminate()
            self._note(FORCE, sent_at)

    def watch(self, *, kill: bool) -> bool:
        """Have it told when one of those who are left has ended; False when nobody is left.

        With `kill` the job is ended once more: somebody may have been put into it meanwhile.
        """
        self.forget()
        if not self._look():
            return False
        if kill:
            self._job.terminate()
            self._last_signal.update(dict.fromkeys(self._alive, FORCE))
        self._wait_for(self._alive)
        return True

    def forget(self) -> None:
        """Stop waiting for anybody."""
        self.look_at = None
        while self._watched:
            handle = self._watched.pop()
            self._poller.forget(handle)
            calls.close_handle(handle)

    @property
    def forced(self) -> bool:
        """Whether the job was ended by force."""
        return any(sent.name == FORCE for sent in self.signals)

    def census(self) -> tuple[EndedProcess, ...]:
        """What became of everybody who was sent a signal, or is alive."""
        return tuple(
            EndedProcess(pid, argv, how, ended_by=None if pid in self._alive else self._last_signal.get(pid))
            for pid, (argv, how) in self._found.items()
            if pid in self._last_signal or pid in self._alive
        )

    def left(self) -> list[tuple[int, tuple[str, ...]]]:
        """The numbers and arguments of those who are left now."""
        return [(pid, self._found[pid].argv) for pid in self._look()]

    def _look(self) -> set[int]:
        """Who is left."""
        self._alive = set(self._job.processes())
        for pid in self._alive - self._found.keys():
            leader = self._leader.get(pid)
            self._found[pid] = _Found(_argv(pid), "job") if leader is None else _Found(leader, "leader")
        return self._alive

    def _note(self, name: str, at: float) -> None:
        self._last_signal.update(dict.fromkeys(self._alive, name))
        self.signals.append(SignalSent(name, at - self.started_at, len(self._alive)))

    def _wait_for(self, pids: Collection[int]) -> None:
        """Wait for as many as there is room for; when one of them has ended there is another look."""
        for pid in pids:
            if self._poller.room <= SPARE_HANDLES:
                return
            self._watch(pid)
        if not self._watched:
            self.look_at = clock.now() + LOOK_AGAIN

    def _watch(self, pid: int) -> None:
        handle = process.open_member(pid)
        if handle is None:
            return
        if not self._job.holds(handle):  # it has ended, and another one has its number
            calls.close_handle(handle)
            return
        self._watched.add(handle)
        self._poller.watch(handle, partial(self._ended, handle))

    def _ended(self, handle: int) -> None:
        if handle in self._watched:
            self._tell(Event.LOOK_DUE)


def _argv(pid: int) -> tuple[str, ...]:
    handle = process.open_member(pid)
    if handle is None:
        return ()
    try:
        return process.argv(handle)
    finally:
        calls.close_handle(handle)
