"""Runs one command, with its process group, its pipes and its container."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

from gracefulexitcmd.exit import Holder, printable
from gracefulexitcmd.ladder import Event
from gracefulexitcmd.posix import process_group, process_table, start, subreaper
from gracefulexitcmd.posix.container import ManualContainer
from gracefulexitcmd.posix.output import Feed, Pipe, holders
from gracefulexitcmd.posix.poller import Poller
from gracefulexitcmd.posix.teardown import Teardown
from gracefulexitcmd.sequence import To
from gracefulexitcmd.streams import Streams

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gracefulexitcmd.exit import Cause
    from gracefulexitcmd.posix.cgroup import Cgroup
    from gracefulexitcmd.posix.spawn import Child
    from gracefulexitcmd.posix.terminal import Foreground
    from gracefulexitcmd.request import Request, Stream


class CommandRun:
    """Holds what exists only while a command runs; it makes a container unless the request names one."""

    _running = False

    def __init__(self, request: Request, report: Callable[[Event], None]) -> None:
        self.status: int | None = None
        self._report = report
        if request.contain:
            subreaper.become()
        self._container = request.container or ManualContainer()
        self._owns_container = request.container is None
        process, ours = self._start(request)
        poller = group = None
        try:
            self.poller = poller = Poller()
            self._group = group = process_group.Group(process)
            self.pid = process.pid
            shared = not self._owns_container and any(stage.to != To.ALL for stage in request.stop)
            self.teardown = Teardown(self._container, poller, report, group, shared=shared)
            poller.watch(group.exit_descriptor, self._leader_exited)
            self.streams = self._streams(ours, request)
        except BaseException:
            for opened in (group, poller):
                if opened is not None:
                    opened.close()
            _kill(process)
            _close(ours.values())
            self._container.ended(process.pid, group_empty=True)
            self._close_container()
            raise
        self._running = True
        self._foreground = _on_terminal(self.pid, request)

    def __del__(self) -> None:
        # The caller has not waited for the end; Popen warns about that. Close the descriptors and do nothing else: a
        # forked process has a copy of this object, and must not read or unregister what belongs to its parent.
        if self._running:
            _close((*self.streams.held, *self.teardown.held, self._group.exit_descriptor))

    def send(self, number: int) -> bool:
        """Send a signal to the process group; return whether any process is left in it."""
        return self._group.signal(number)

    def holders(self) -> tuple[Holder, ...]:
        """Return the processes that can still write to the pipes, after reading what they wrote so far."""
        inodes = [pipe.inode for pipe in self.streams.read()]
        if not inodes or sys.platform != "linux":
            return ()
        with contextlib.suppress(OSError):
            return tuple(Holder(pid, process_table.argv(pid)) for pid in holders(inodes))
        return ()

    def let_go(self, _cause: Cause) -> None:
        """Reap the leader and close the command's group; its background processes stay in its container."""
        self._running = False
        self._leave_terminal()
        if self._owns_container:
            self._group.close()
            self._container.close()
        else:
            self._container.ended(self.pid, group_empty=self._group.is_empty())
            self._group.close()

    def _start(self, request: Request) -> tuple[Child, dict[str, int]]:
        """Start the command in the container; return it, and our ends of its pipes by name."""
        try:
            with self._container.starting():
                # A group takes 0.05 ms, so a plain command, which promises less, has none.
                exact = request.contain or not self._owns_container
                group = self._container.birthplace() if exact else None
                process, inside, ours = _spawn(request, self._container.environment(request.env), group)
                self._container.started(process.pid, inside=inside)
        except BaseException:
            self._close_container()
            raise
        return process, ours

    def _streams(self, ours: dict[str, int], request: Request) -> Streams:
        feed = Feed(ours["stdin"], request.content) if request.feeds else None
        pipes = {name: Pipe(descriptor, request.max_output) for name, descriptor in ours.items() if name != "stdin"}
        return Streams(self.poller, self._report, pipes, feed)

    def _close_container(self) -> None:
        if self._owns_container:
            self._container.close()

    def _leader_exited(self) -> None:
        self.poller.forget(self._group.exit_descriptor)
        self.status = self._group.collect()
        self._leave_terminal()
        self._report(Event.LEADER_EXITED)

    def _leave_terminal(self) -> None:
        if self._foreground is not None:
            self._foreground.close(restore=self.status is None or self.status < 0)


def _spawn(
    request: Request, env: Mapping[str, str] | Mapping[bytes, bytes], group: Cgroup | None
) -> tuple[Child, bool, dict[str, int]]:
    """Start the command in a process group of its own.

    Return it, whether it was started in the control group, and our ends of its pipes by name.
    """
    ours: dict[str, int] = {}
    theirs: dict[str, int] = {}
    try:
        if request.feeds:
            theirs["stdin"], ours["stdin"] = os.pipe()
        for name, stream in (("stdout", request.stdout), ("stderr", request.stderr)):
            if stream == subprocess.PIPE:
                ours[name], theirs[name] = os.pipe()
        stdin = theirs.get("stdin", _stdin(request))
        streams = (stdin, theirs.get("stdout", request.stdout), theirs.get("stderr", request.stderr))
        process, inside = start.start(request, env, streams, group)
    except BaseException:
        _close(ours.values())
        raise
    finally:
        _close(theirs.values())
    return process, inside, ours


def _on_terminal(pid: int, request: Request) -> Foreground | None:
    """Put a command into the terminal's foreground if the request asks for it, and watch for stops by the terminal."""
    from gracefulexitcmd.posix import terminal

    opened = terminal.opened(needed=request.foreground)
    if opened is None:
        return None
    foreground = terminal.foreground(opened, pid) if request.foreground else None
    if foreground is None:
        os.close(opened)
    terminal.watch(pid, printable(os.fsdecode(request.argv[0])), foreground)
    return foreground


def _stdin(request: Request) -> Stream:
    """Return the command's stdin: never a terminal for a background command, which would stop at a read, termios(3)."""
    inherits = request.stdin is None and not request.foreground
    return subprocess.DEVNULL if inherits and os.isatty(0) else request.stdin


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _kill(process: Child) -> None:
    """Kill and reap a command that cannot be managed, because a later step of its start failed."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
