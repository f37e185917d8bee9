"""The key that seals the ledgers of jobs: a secret of this user, in a directory that no container shares.

The directories of jobs are below TMPDIR, which containers often share. Root in a container may write anything there,
and has the same user id as root on the host.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from typing import TYPE_CHECKING

from step_runner import private, temporary

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTES = 32
"""Length of a key in bytes: that of a SHA-256 digest."""

NAME = "ledger.key"
"""The name of the key file."""

RUN = "/run"
"""The directory for files of root's services that need not survive a reboot."""

_OWN = os.urandom(BYTES)
"""The key of this process, for a user without a directory for one."""

_last: tuple[str, tuple[int, ...] | None, bytes] | None = None
"""The path of the file of the key that was used last, the file's version at that time, and the key."""


def usable() -> tuple[bytes, ...]:
    """Return the keys that seal this user's ledgers. The first seals new ledgers, and is made if it is missing.

    There can be several: a login session has a directory that a service of the same user does not know. The
    directory for temporary files is the last choice. Another user can take the key's name there: this process then
    uses a key of its own, unknown to all others.
    """
    return tuple(_keys().values())


def sealing() -> bytes:
    """Return the first of these keys, from memory as long as its file is unchanged.

    A search for it takes 25 system calls, too many for each job.
    """
    global _last
    path, version, key = _last or ("", None, b"")
    if version is None or version != _version(path):
        path, key = next(iter(_keys().items()))
        _last = path, _version(path), key
    return key


def _keys() -> dict[str, bytes]:
    """Return the usable keys by the paths of their files; a key without a file has an empty path."""
    found: dict[str, bytes] = {}
    for directory in _places():
        with contextlib.suppress(OSError):
            found[os.path.join(directory, NAME)] = _key(directory, make=not found)
    if not found:
        fallback = os.path.join(temporary.directory(), f"step-runner-{os.getuid()}")
        with contextlib.suppress(OSError):
            found[os.path.join(fallback, NAME)] = _key(fallback, make=True)
    return found or {"": _OWN}


def _version(path: str) -> tuple[int, ...] | None:
    """Return what changes when a file is replaced or written to; None if there is no such file."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _places() -> Iterator[str]:
    """Yield the directories that may hold a key, best first."""
    bases = {private.session(): "step-runner", RUN: "step-runner", _home(): ".local/state/step-runner"}
    for base, below in bases.items():
        if base and private.is_private(base):
            yield os.path.join(base, below)


def _home() -> str:
    """Return the home directory from the user database: a job's variables may name another one."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def _key(directory: str, *, make: bool) -> bytes:
    """Return the key in a directory. Raise OSError unless only this user can have written it."""
    path = os.path.join(directory, NAME)
    try:
        return _read(path)
    except FileNotFoundError:
        if not make:
            raise
    os.makedirs(directory, 0o700, exist_ok=True)
    _make(path)
    return _read(path)


def _make(path: str) -> None:
    """Make a key, unless another process makes it first. No reader ever sees a partial key."""
    made = f"{path}.{os.urandom(8).hex()}"
    private.create(made, os.urandom(BYTES))
    try:
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
    finally:
        os.unlink(made)


def _read(path: str) -> bytes:
    directory = os.path.dirname(path)
    if stat.S_ISLNK(os.lstat(directory).st_mode) or not private.is_private(directory):
        raise PermissionError(path)
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        key = file.read(BYTES + 1) if stat.S_ISREG(status.st_mode) and not status.st_mode & 0o077 else b""
    if status.st_uid != os.getuid() or len(key) != BYTES:
        raise PermissionError(path)
    return key
