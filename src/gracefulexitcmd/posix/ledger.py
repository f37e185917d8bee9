"""What must be written down of a container, so that it can be emptied when everybody who looked after it was killed.

A ledger is a file of one JSON value a line: an `Entry`, then the pid and start time of each command's leader. It is
abandoned when all its owners have ended. It needs `/proc`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from gracefulexitcmd.posix import linux

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gracefulexitcmd.posix.linux import Identity

front: Identity | None = None
"""The process that watches this one and ends what it leaves behind; `guarded` sets it in the worker."""


class Entry(NamedTuple):
    """The first line of a ledger.

    `place` tells on which boot of the system, and in which PID namespace, its numbers mean anything. `grace` is in
    seconds, `since` in clock ticks since boot; `cgroup` is the directory of the control group. `owners` are the
    process that has the container, and the one that watches it.
    """

    name: str
    place: str
    cookie: str
    since: int
    grace: float
    cgroup: str | None
    owners: tuple[Identity, ...]


class Ledger:
    """A ledger that is being written, until `close`."""

    def __init__(self, path: str, entry: Entry) -> None:
        """Make the file, which must not exist. Raises OSError where that is not possible."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self._torn = False
        try:
            self._write(entry)
        except BaseException:
            os.close(self._descriptor)
            raise

    def started(self, leader: int) -> None:
        """Note a command. Where that is not possible, the disk is full say, the rest of the evidence must do."""
        with contextlib.suppress(OSError):
            if (process := linux.process(leader)) is not None:
                self._write(process.identity)

    def close(self) -> None:
        """Let go of it; the file stays."""
        os.close(self._descriptor)

    def _write(self, line: Entry | Identity) -> None:
        """Raises OSError where it cannot be written as a whole; the next line then begins a new one."""
        text = ("\n" if self._torn else "") + json.dumps(line) + "\n"
        self._torn = True
        if os.write(self._descriptor, text.encode()) < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._torn = False


def owners() -> tuple[Identity, ...]:
    """This process, and the one that watches it."""
    own = linux.process(os.getpid())
    assert own is not None
    return (own.identity,) if front is None else (own.identity, front)


@contextlib.contextmanager
def abandoned(path: str, *, watched_here: bool = False) -> Iterator[tuple[Entry, tuple[Identity, ...]] | None]:
    """What a ledger says, with the leaders, while nobody else can have it; None where it is not abandoned.

    In another PID namespace that cannot be told. With `watched_here` it is one whose only owner left is this process.
    """
    with contextlib.ExitStack() as held:
        try:
            # Another user may have put a pipe there, whose opening would wait for somebody who writes.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            held.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            read = parse(_content(descriptor)) if _is_own_file(descriptor) else None
        except OSError:
            read = None
        yield read if read is not None and _is_abandoned(read[0], watched_here=watched_here) else None


def parse(text: str) -> tuple[Entry, tuple[Identity, ...]] | None:
    """The entry and the leaders; lines that were not written to their end are left out, None without an entry."""
    first, *others = map(_value, text.split("\n")[:-1] or [""])
    entry = _entry(first)
    return None if entry is None else (entry, tuple(filter(None, map(_identity, others))))


def _value(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _entry(value: object) -> Entry | None:
    """The entry that stands in a first line, None where that is none."""
    if not isinstance(value, list) or len(value) != len(Entry._fields) or not isinstance(value[-1], list):
        return None
    name, place, cookie, since, grace, cgroup, owners = value
    texts = all(isinstance(one, str) for one in (name, place, cookie)) and isinstance(cgroup, str | None)
    numbers = type(since) is int and type(grace) in (int, float) and 0 <= grace < float("inf")
    identities = tuple(map(_identity, owners))
    if not texts or not numbers or not cookie or None in identities:
        return None
    return Entry(name, place, cookie, since, grace, cgroup, tuple(filter(None, identities)))


def _identity(value: object) -> Identity | None:
    """The pid and start time that a line holds, None where it holds something else."""
    if isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value):
        return value[0], value[1]
    return None


@functools.cache
def place() -> str:
    """This boot of the system and this PID namespace."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return f"{file.read().strip()} {os.stat('/proc/self/ns/pid').st_ino}"


def same_boot(entry: Entry) -> bool:
    """Whether the system has not been started anew since."""
    return entry.place.split()[:1] == place().split()[:1]


def _is_abandoned(entry: Entry, *, watched_here: bool) -> bool:
    if not same_boot(entry):
        return not watched_here
    living = {owner.pid for owner in map(linux.again, entry.owners) if owner is not None and owner.alive}
    return entry.place == place() and living == ({os.getpid()} if watched_here else set())


def _is_own_file(descriptor: int) -> bool:
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()


def _content(descriptor: int) -> str:
    with open(descriptor, encoding="utf-8", errors="surrogateescape", closefd=False) as file:
        return file.read()
