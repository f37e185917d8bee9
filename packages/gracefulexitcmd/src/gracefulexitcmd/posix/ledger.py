"""Writes and reads ledgers, from which a container can be emptied after all its owners were killed.

A ledger is a file with one JSON value a line: an `Entry`, then the pid and start time of each command's leader. It is
abandoned when all its owners have ended. It needs `/proc`.

Root inside a container that shares the directory can write any text there. So each line begins with a seal, made with
a key that is not in that container. An entry is trusted only if it is plausible, too.
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

from gracefulexitcmd.posix import cgroup, process_table, subreaper
from gracefulexitcmd.typed import NamedTuple

try:
    from _blake2 import blake2b  # hashlib loads OpenSSL, which costs each supervised program milliseconds and megabytes
except ImportError:
    from hashlib import blake2b

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gracefulexitcmd.posix.process_table import Identity

SEAL_BYTES = 32
"""Length of the keyed hash before each line, before its hexadecimal encoding."""

COOKIE_FORM = re.compile(r"[0-9a-f]{16}")
"""The form of a cookie: `ManualContainer` makes it from 8 random bytes."""

MOST_BYTES = 16 * 1024 * 1024
"""Bytes of a ledger that are read at most: some 200,000 commands. Another user may have made it larger than memory."""


class Entry(NamedTuple):
    """The first line of a ledger.

    `place` names the boot of the system and the PID namespace in which its pids are valid. `grace` is in seconds,
    `since` in clock ticks since boot; `cgroup` is the directory of the control group. `owners` are the process that
    holds the container, and its supervisor.
    """

    name: str
    place: str
    cookie: str
    since: int
    grace: float
    cgroup: str | None
    owners: tuple[Identity, ...]


class Found(NamedTuple):
    """The content of a ledger: the leaders are from sealed lines; `sealed` is whether the entry's line is sealed."""

    entry: Entry
    leaders: tuple[Identity, ...]
    sealed: bool


class Ledger:
    """A ledger that can be written to. It holds no descriptor: a server may have thousands of them."""

    def __init__(self, path: str, entry: Entry, key: bytes) -> None:
        """Make the file, which must not exist. Raise OSError if that is not possible."""
        self._path = path
        self._key = key
        self._torn = False
        self._first = self._write(json.dumps(entry).encode(), b"", os.O_CREAT | os.O_EXCL)

    def started(self, leader: int) -> None:
        """Note the leader of a command. If that fails, for example on a full disk, the other evidence must suffice."""
        with contextlib.suppress(OSError):
            if (process := process_table.process(leader)) is not None:
                self._write(b"[%d, %d]" % process.identity, self._first)

    def _write(self, content: bytes, first: bytes, flags: int = 0) -> bytes:
        """Write a sealed line and return it. Raise OSError if not all is written; the next call starts a new line."""
        sealed = _seal(self._key, first, content) + b" " + content
        text = (b"\n" if self._torn else b"") + sealed + b"\n"
        descriptor = os.open(self._path, flags | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            self._torn = True
            if os.write(descriptor, text) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
        self._torn = False
        return sealed


def _seal(key: bytes, first: bytes, content: bytes) -> bytes:
    """Return the keyed hash of a line, valid only in the ledger with this first line; `first` is b"" for that line."""
    return blake2b(first + b"\n" + content, key=key, digest_size=SEAL_BYTES).hexdigest().encode()


def owners() -> tuple[Identity, ...]:
    """Return this process, and its supervisor if it has one."""
    return (_own(),) if subreaper.supervisor is None else (_own(), subreaper.supervisor)


@functools.cache
def _own() -> Identity:
    """Return this process. The kernel sums the times of all threads for its `stat`, too slow to read for each job."""
    own = process_table.process(os.getpid())
    assert own is not None
    return own.identity


os.register_at_fork(after_in_child=_own.cache_clear)


@contextlib.contextmanager
def abandoned(path: str, keys: Sequence[bytes], *, watched_here: bool = False) -> Iterator[Found | None]:
    """Yield the content of a ledger with the file locked; None if it is not abandoned or cannot be trusted.

    A ledger of another PID namespace never counts as abandoned, because its pids mean nothing here. With
    `watched_here` this process must be the only owner left. A ledger of an earlier boot needs no seal: the boot ended
    its processes.
    """
    with contextlib.ExitStack() as held:
        try:
            # O_NONBLOCK: another user may have put a FIFO there, and opening one waits for a writer, fifo(7).
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            held.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = parse(_content(descriptor), keys) if _is_own_file(descriptor) else None
        except OSError:
            found = None
        yield found if found is not None and _is_abandoned(found, watched_here=watched_here) else None


def parse(text: bytes, keys: Sequence[bytes]) -> Found | None:
    """Return the entry and the leaders of sealed lines; None without an entry. Ignore a line without a newline."""
    first, *others = text.split(b"\n")[:-1] or [b""]
    entry = _entry(_value(first.partition(b" ")[2]))
    if entry is None:
        return None
    key = next((key for key in keys if _is_sealed(key, b"", first)), None)
    sealed = [line for line in others if key is not None and _is_sealed(key, first, line)]
    leaders = (_identity(_value(line.partition(b" ")[2])) for line in sealed)
    return Found(entry, tuple(filter(None, leaders)), sealed=key is not None)


def plausible(entry: Entry, now: int, mount: str | None) -> bool:
    """Return whether an entry of this boot can be one of ours.

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
    """Return the entry of a first line; None if the value is not an entry."""
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
    """Return the pid and start time of a line; None if the value is something else."""
    if isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value):
        return value[0], value[1]
    return None


@functools.cache
def place() -> str:
    """Return the names of this boot of the system and of this PID namespace."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return f"{file.read().strip()} {os.stat('/proc/self/ns/pid').st_ino}"


def same_boot(entry: Entry) -> bool:
    """Return whether the system has not been rebooted since the entry was written."""
    return entry.place.split()[:1] == place().split()[:1]


def _is_abandoned(found: Found, *, watched_here: bool) -> bool:
    entry = found.entry
    if not same_boot(entry):
        return not watched_here
    if not found.sealed or not plausible(entry, process_table.ticks_since_boot(), cgroup.mount_point()):
        return False
    living = {owner.pid for owner in map(process_table.again, entry.owners) if owner is not None and owner.alive}
    return entry.place == place() and living == ({os.getpid()} if watched_here else set())


def _is_own_file(descriptor: int) -> bool:
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()


def _content(descriptor: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        return file.read(MOST_BYTES)
