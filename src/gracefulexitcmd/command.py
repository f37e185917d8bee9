"""One run of a command: its process group, its pipes, its container."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from gracefulexitcmd import linux, posix
from gracefulexitcmd.container import Container
from gracefulexitcmd.exit import Exit, Holder
from gracefulexitcmd.ladder import Event, Ladder
from gracefulexitcmd.members import Members
from gracefulexitcmd.output import Feed, Pipe
from gracefulexitcmd.poller import Poller
from gracefulexitcmd.targets import Targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gracefulexitcmd.request import Request


class CommandRun:
    """What there is only while a command runs; a container of its own unless the request names one."""

    def __init__(self, request: Request, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._status: int | None = None
        self._holders: tuple[Holder, ...] = ()
        self._running = False
        self.stop_signal = request.stop_signal
        self._container = request.container or Container()
        self._owns_container = request.container is None
        with self._container.starting(), contextlib.ExitStack() as undo:
            undo.callback(self._close_container)
            # To mark the environment costs a tenth of a short command; its own container can do without.
            env = request.env if self._owns_container else self._container.environment(request.env)
            process, pipes = _spawn(request, env)
            undo.callback(_close, pipes.values())
            undo.callback(_kill, process)
            self._started_at = time.monotonic()
            self.poller = Poller()
            undo.callback(self.poller.close)
            self._group = posix.open_group(process)
            undo.callback(self._group.close)
            self.pid = process.pid
            targets = Targets(self._container, self._group)
            self.members = Members(targets, self.poller, partial(tell, Event.LOOK_DUE))
            self.poller.watch(self._group.exit_descriptor, self._leader_exited)
            self._connect(pipes, request.input)
            self._container.started(self.pid)
            undo.pop_all()
        self._running = True

    def _connect(self, pipes: dict[str, int], content: bytes | None) -> None:
        self._feed: Feed | None = None
        if content is not None:
            self._feed = Feed(pipes["stdin"], content)
            self.poller.watch(self._feed.descriptor, self._write, write=True)
        self._pipes = {name: Pipe(descriptor) for name, descriptor in pipes.items() if name != "stdin"}
        self.open_pipes = set(self._pipes.values())
        for pipe in self.open_pipes:
            self.poller.watch(pipe.descriptor, partial(self._read, pipe))

    def __del__(self) -> None:
        # Nobody waited for the end; Popen warns of that. Descriptors are closed and nothing else: a forked process
        # has a copy of this, and what it would read or unregister is its parent's.
        if self._running:
            _close(self._descriptors())

    def abandon_output(self) -> None:
        """Take what was written so far, and name who could write more."""
        for pipe in self.open_pipes:
            pipe.read()
        inodes = [pipe.inode for pipe in self.open_pipes if not pipe.closed]
        if inodes and sys.platform == "linux":
            with contextlib.suppress(OSError):
                self._holders = tuple(Holder(pid, linux.argv(pid)) for pid in linux.holders(inodes))

    def end(self, ladder: Ladder) -> Exit:
        """Give back everything that was held, and say what happened."""
        self._running = False
        self.members.forget()
        self._close_feed()
        for pipe in self._pipes.values():
            pipe.finish()
        self._container.ended(self.pid, group_empty=self._group.close())
        self._close_container()
        self.poller.close()
        return Exit(
            cause=ladder.cause,
            status=self._status,
            duration=time.monotonic() - self._started_at,
            forced=self.members.forced,
            signals=tuple(self.members.signals),
            census=self.members.census(),
            holders=self._holders,
            stdout=self._content("stdout"),
            stderr=self._content("stderr"),
        )

    def _close_container(self) -> None:
        if self._owns_container:
            self._container.close()

    def _leader_exited(self) -> None:
        self.poller.forget(self._group.exit_descriptor)
        self._status = self._group.collect()
        self._tell(Event.LEADER_EXITED)

    def _read(self, pipe: Pipe) -> None:
        pipe.read()
        if pipe.closed:
            self.poller.forget(pipe.descriptor)
            self.open_pipes.discard(pipe)
            if not self.open_pipes:
                self._tell(Event.OUTPUT_CLOSED)

    def _write(self) -> None:
        if self._feed is not None and self._feed.write():
            self._close_feed()

    def _close_feed(self) -> None:
        if self._feed is not None:
            self.poller.forget(self._feed.descriptor)
            os.close(self._feed.descriptor)
            self._feed = None

    def _descriptors(self) -> list[int]:
        feed = [] if self._feed is None else [self._feed.descriptor]
        pipes = [pipe.descriptor for pipe in self._pipes.values()]
        return [*feed, *pipes, *self.members.descriptors, *self.poller.descriptors, self._group.exit_descriptor]

    def _content(self, name: str) -> bytes | None:
        return self._pipes[name].content if name in self._pipes else None


def _spawn(request: Request, env: Mapping[str, str] | None) -> tuple[subprocess.Popen[bytes], dict[str, int]]:
    """Start the command in a process group of its own; returns our ends of its pipes by name."""
    ours: dict[str, int] = {}
    theirs: dict[str, int] = {}
    try:
        if request.input is not None:
            theirs["stdin"], ours["stdin"] = os.pipe()
        for name, stream in (("stdout", request.stdout), ("stderr", request.stderr)):
            if stream == subprocess.PIPE:
                ours[name], theirs[name] = os.pipe()
        process = subprocess.Popen(
            [os.fspath(word) for word in request.argv],
            env=env,
            cwd=request.cwd,
            stdin=theirs.get("stdin", request.stdin),
            stdout=theirs.get("stdout", request.stdout),
            stderr=theirs.get("stderr", request.stderr),
            process_group=0,
        )
    except BaseException:
        _close(ours.values())
        raise
    finally:
        _close(theirs.values())
    return process, ours


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a command that cannot be looked after; nothing but its own start can have failed."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
