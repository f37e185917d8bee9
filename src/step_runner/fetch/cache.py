"""Directories that are made once and kept: the function cache.

    <root>/entries/<key>   a directory that is finished, never changed and never removed
    <root>/partial/<key>   a directory that is being made, by the process that holds the lock of its key
    <root>/locks/<key>     an empty file, locked while its directory is being made

The kernel releases the locks of a dead process, so what lies under `partial` without a lock is left over.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from step_runner.errors import FetchError
from step_runner.fetch.cache_root import VARIABLE, default_root
from step_runner.removal import remove

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from step_runner.proc import Proc

Key: TypeAlias = tuple[str, ...]
Make: TypeAlias = "Callable[[Path, Path], None]"
"""Fills the first directory, which is empty; the second is for its temporary files and is thrown away."""

Valid: TypeAlias = "Callable[[Path], bool]"
"""Whether a directory holds what it should."""

_SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-.")
_LONGEST_NAME = 80 if sys.platform == "win32" else 200  # file systems allow 255 bytes, Windows a path of 259
_PAUSE = 0.02  # seconds
_MODE = 0o700  # functions can hold what is not meant for others
_ADVICE = f"set {VARIABLE} to a directory of your own"


class Cache:
    """The function cache in one directory, shared by all threads and processes of one user."""

    def __init__(self, root: str | Path | None = None) -> None:
        """Use the cache at `root`; without one, this user's own."""
        self._root = Path(root) if root else default_root()

    def find(self, key: Key, valid: Valid = lambda directory: True) -> Path | None:
        """The directory of `key` if it is there, whole and valid. FetchError: the cache cannot be trusted."""
        with _explained(self._root):
            if not os.path.lexists(self._root):
                return None
            self._check_root()
            entry = self._entry(key)
            return entry if _is_good(entry, valid) else None

    def get(self, key: Key, make: Make, proc: Proc, valid: Valid = lambda directory: True) -> Path:
        """The directory of `key`, made now if `find` gives none; however many ask, one makes it and the others wait.

        What `make` raises passes through, and nothing is kept then. FetchError: the cache cannot be used.
        StoppedError: cancelled.
        """
        found = self.find(key, valid)
        if found:
            return found
        self._create()
        with self._locked(encoded(key), proc):
            return self.find(key, valid) or self._make(key, make, proc)

    def _entry(self, key: Key) -> Path:
        return self._root / "entries" / encoded(key)

    def _make(self, key: Key, make: Make, proc: Proc) -> Path:
        self._sweep()
        partial, entry = self._root / "partial" / encoded(key), self._entry(key)
        remove(os.fspath(partial))
        with _explained(partial):
            for directory in (partial, partial / "files", partial / "scratch"):
                directory.mkdir(_MODE)
        try:
            make(partial / "files", partial / "scratch")
            proc.check()
            with _explained(entry):
                remove(os.fspath(entry))
                (partial / "files").rename(entry)
        finally:
            remove(os.fspath(partial))
        return entry

    def _create(self) -> None:
        with _explained(self._root):
            self._root.mkdir(_MODE, parents=True, exist_ok=True)
            self._check_root()
            for name in ("entries", "partial", "locks"):
                (self._root / name).mkdir(_MODE, exist_ok=True)

    def _check_root(self) -> None:
        """Refuse a cache into which somebody else could put functions: those would run as this user."""
        status = self._root.lstat()
        advice = f"remove it, or {_ADVICE}"
        if not stat.S_ISDIR(status.st_mode):
            raise FetchError(f"the function cache {self._root} is not a directory; {advice}")
        if sys.platform == "win32":  # where LOCALAPPDATA is the user's own: docs/windows.md
            return
        if status.st_uid != os.geteuid():
            raise FetchError(
                f"the function cache {self._root} belongs to user {status.st_uid}, not to {os.geteuid()}; {advice}"
            )
        if status.st_mode & 0o022:
            raise FetchError(f"the function cache {self._root} can be written by other users; {advice}")

    @contextmanager
    def _locked(self, name: str, proc: Proc) -> Iterator[None]:
        # A blocking flock cannot be woken by a cancel, so it is asked for again and again.
        with self._lock_file(name) as lock:
            while not _try_lock(lock):
                proc.pause(_PAUSE)
                proc.check()
            yield

    @contextmanager
    def _lock_file(self, name: str) -> Iterator[int]:
        with _explained(self._root / "locks" / name):
            lock = os.open(self._root / "locks" / name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield lock
        finally:
            os.close(lock)

    def _sweep(self) -> None:
        """Remove what dead processes and cancelled fetches left half made."""
        for left_over in (self._root / "partial").iterdir():
            with self._lock_file(left_over.name) as lock:
                if _try_lock(lock):
                    remove(os.fspath(left_over))


def _is_good(entry: Path, valid: Valid) -> bool:
    try:
        return entry.is_dir() and valid(entry)
    except OSError:
        return False


def encoded(key: Key) -> str:
    """A file name for `key`, another one for each: no slash, upper case or leading dot, not longer than it may be."""
    name = "@".join(map(_encoded_part, key))
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"{name[: _LONGEST_NAME - len(digest) - 1]}~{digest}"


def _encoded_part(part: str) -> str:
    text = "".join(chr(byte) if byte in _SAFE else f"_{byte:02x}" for byte in part.encode("utf-8", "surrogatepass"))
    return f"_2e{text[1:]}" if text.startswith(".") else text


if sys.platform == "win32":

    def _try_lock(lock: int) -> bool:
        try:
            msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _try_lock(lock: int) -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = str(error.strerror or error).lower()
        raise FetchError(f"the function cache cannot use {path}: {reason}; make room there, or {_ADVICE}") from error
