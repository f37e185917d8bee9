"""What must be written down of a container, so that it can be emptied when everybody who looked after it was killed.

A ledger is a file of one JSON value a line: an `Entry`, then the pid and start time of each command's leader. It is
abandoned when all its owners have ended. It needs `/proc`.

Root in a container that shares the directory can write there what it likes. So each line begins with a seal, made with
a key that the container does not have, and an entry is believed only if it could be one of ours.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import re
import stat
from typing import TYPE_CHECKING

from gracefulexitcmd.named_tuple import NamedTuple
from gracefulexitcmd.posix import cgroup, linux

try:
    from _blake2 import blake2b  # hashlib would load OpenSSL: milliseconds and megabytes of each supervised program
except ImportError:
    from hashlib import blake2b

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gracefulexitcmd.posix.linux import Identity

SEAL_BYTES = 32
"""Of the keyed hash before each line."""

COOKIE_FORM = re.compile(r"[0-9a-f]{16}")
"""What `Container` makes of 8 random bytes."""

MOST_BYTES = 16 * 1024 * 1024
"""Bytes of a ledger that are read: some 200,000 commands. Others may have made it larger than the memory."""

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


class Found(NamedTuple):
    """What a ledger says; the leaders are those of sealed lines, and `sealed` tells whether the entry is one."""

    entry: Entry
    leaders: tuple[Identity, ...]
    sealed: bool


class Ledger:
    """A ledger that is being written, until `close`."""

    def __init__(self, path: str, entry: Entry, key: bytes) -> None:
        """Make the file, which must not exist. Raises OSError where that is not possible."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self._key = key
        self._first = b""
        self._torn = False
        try:
            self._first = self._write(entry)
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

    def _write(self, line: Entry | Identity) -> bytes:
        """Return the line. Raises OSError where it cannot be written as a whole; the next one begins a new line."""
        content = json.dumps(line).encode()
        sealed = _seal(self._key, self._first, content) + b" " + content
        text = (b"\n" if self._torn else b"") + sealed + b"\n"
        self._torn = True
        if os.write(self._descriptor, text) < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._torn = False
        return sealed


def _seal(key: bytes, first: bytes, content: bytes) -> bytes:
    """Return the keyed hash of a line; it is valid in the ledger with this first line only, which has b"" for it."""
    return blake2b(first + b"\n" + content, key=key, digest_size=SEAL_BYTES).hexdigest().encode()


def owners() -> tuple[Identity, ...]:
    """This process, and the one that watches it."""
    return (_own(),) if front is None else (_own(), front)


@functools.cache
def _own() -> Identity:
    """This process; its `stat` adds up the times of all threads, which is too slow to read for each job."""
    own = linux.process(os.getpid())
    assert own is not None
    return own.identity


os.register_at_fork(after_in_child=_own.cache_clear)


@contextlib.contextmanager
def abandoned(path: str, keys: Sequence[bytes], *, watched_here: bool = False) -> Iterator[Found | None]:
    """What a ledger says, while nobody else can have it; None where it is not abandoned, or not to be believed.

    In another PID namespace that cannot be told. With `watched_here` it is one whose only owner left is this process.
    After a new start of the system no seal is needed: its processes are gone with the old one.
    """
    with contextlib.ExitStack() as held:
        try:
            # Another user may have put a pipe there, whose opening would wait for somebody who writes.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            held.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = parse(_content(descriptor), keys) if _is_own_file(descriptor) else None
        except OSError:
            found = None
        yield found if found is not None and _is_abandoned(found, watched_here=watched_here) else None


def parse(text: bytes, keys: Sequence[bytes]) -> Found | None:
    """The entry, and the leaders of sealed lines; None without an entry. A line without an end is left out."""
    first, *others = text.split(b"\n")[:-1] or [b""]
    entry = _entry(_value(first.partition(b" ")[2]))
    if entry is None:
        return None
    key = next((key for key in keys if _is_sealed(key, b"", first)), None)
    sealed = [line for line in others if key is not None and _is_sealed(key, first, line)]
    leaders = (_identity(_value(line.partition(b" ")[2])) for line in sealed)
    return Found(entry, tuple(filter(None, leaders)), sealed=key is not None)


def plausible(entry: Entry, now: int, mount: str | None) -> bool:
    """Whether an entry of this boot can be one of ours.

    `now` is in clock ticks since boot, `mount` the directory where control groups of version 2 are mounted.
    """
    return (
        COOKIE_FORM.fullmatch(entry.cookie) is not None
        and 0 < entry.since <= now
        and bool(entry.owners)
        and all(pid > 1 and 0 < start <= now for pid, start in entry.owners)
        and (entry.cgroup is None or _is_own_group(entry.cgroup, entry, mount))
    )


def _is_own_group(path: str, entry: Entry, mount: str | None) -> bool:
    if mount is None or os.path.normpath(path) != path or not path.startswith(f"{mount.rstrip('/')}/"):
        return False
    return os.path.basename(path) == cgroup.group_name(entry.owners[0][0], entry.cookie)


def _is_sealed(key: bytes, first: bytes, line: bytes) -> bool:
    import hmac

    seal, _, content = line.partition(b" ")
    return hmac.compare_digest(seal, _seal(key, first, content))


def _value(line: bytes) -> object:
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


def _is_abandoned(found: Found, *, watched_here: bool) -> bool:
    entry = found.entry
    if not same_boot(entry):
        return not watched_here
    if not found.sealed or not plausible(entry, linux.ticks_since_boot(), cgroup.mount_point()):
        return False
    living = {owner.pid for owner in map(linux.again, entry.owners) if owner is not None and owner.alive}
    return entry.place == place() and living == ({os.getpid()} if watched_here else set())


def _is_own_file(descriptor: int) -> bool:
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()


def _content(descriptor: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        return file.read(MOST_BYTES)
