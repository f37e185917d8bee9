"""Directories that are made once and kept: the function cache.

    <root>/entries/<key>   a directory that is finished, never changed and never removed
    <root>/notes/<key>     a file with a short text
    <root>/partial/<key>   a directory that is being made, by the process that holds the lock of its key
    <root>/locks/<key>     an empty file, locked while its directory is being made

The kernel releases the locks of a dead process: flock(2). So a directory under `partial` without a lock is abandoned.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from step_runner import temporary
from step_runner.errors import FetchError
from step_runner.private import replace
from step_runner.removal import remove

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from step_runner.proc import Proc

VARIABLE = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
"""The environment variable that chooses another directory."""

Key: TypeAlias = tuple[str, ...]
Make: TypeAlias = "Callable[[Path, Path], None]"
"""A function that fills the first, empty directory; the second is for its temporary files and is removed."""

_PAUSE = 0.02  # seconds
_MODE = 0o700  # functions can be private
_ADVICE = f"set {VARIABLE} to a directory of your own"


class Cache:
    """The function cache in one directory, shared by all threads and processes of one user."""

    def __init__(self, root: str | Path | None = None) -> None:
        """Use the cache at `root`; default: the cache of this user."""
        self._root = Path(root) if root else default_root()

    def find(self, key: Key) -> Path | None:
        """Return the directory of `key` if it is complete, else None. Raise FetchError if the cache is not safe."""
        with _explained(self._root), suppress(FileNotFoundError):
            self._check_root()
            entry = self._root / "entries" / encoded(key)
            if entry.is_dir():
                return entry
        return None

    def get(self, key: Key, make: Make, proc: Proc) -> Path:
        """Return the directory of `key`; make it if it is missing. Only one of many concurrent callers makes it.

        An error of `make` is raised unchanged, and nothing is kept. Raise FetchError if the cache cannot be used, and
        StoppedError after a cancel.
        """
        found = self.find(key)
        if found:
            return found
        with self.scratch(key, proc) as directory:
            return self.find(key) or self._make(key, make, proc, directory)

    @contextmanager
    def scratch(self, key: Key, proc: Proc) -> Iterator[Path]:
        """Yield an empty directory, to one caller for each key at a time; remove it at the end. Raise as `get`."""
        self._create()
        directory = self._root / "partial" / encoded(key)
        with self._lock_file(encoded(key)) as lock:
            # A cancel cannot wake a thread in a blocking flock(2), so the lock is retried without blocking.
            while not _try_lock(lock):
                proc.pause(_PAUSE)
                proc.check()
            self._sweep()
            with _explained(directory):
                remove(os.fspath(directory))
                directory.mkdir(_MODE)
            try:
                yield directory
            finally:
                remove(os.fspath(directory))

    def note(self, key: Key) -> str:
        """Return the text stored for a key, or an empty one. Raise as `find`."""
        with _explained(self._root), suppress(FileNotFoundError):
            self._check_root()
            return (self._root / "notes" / encoded(key)).read_text(errors="replace")
        return ""

    def keep_note(self, key: Key, text: str) -> None:
        """Store a text for a key; it replaces an older one. Raise FetchError if the cache cannot be used."""
        if self.note(key) == text:
            return
        self._create()
        with _explained(self._root):
            replace(str(self._root / "notes" / encoded(key)), text.encode())

    def _make(self, key: Key, make: Make, proc: Proc, directory: Path) -> Path:
        entry = self._root / "entries" / encoded(key)
        for name in ("files", "scratch"):
            (directory / name).mkdir(_MODE)
        make(directory / "files", directory / "scratch")
        proc.check()
        with _explained(entry):
            (directory / "files").rename(entry)
        return entry

    def _create(self) -> None:
        with _explained(self._root):
            self._root.mkdir(_MODE, parents=True, exist_ok=True)
            self._check_root()
            for name in ("entries", "notes", "partial", "locks"):
                (self._root / name).mkdir(_MODE, exist_ok=True)

    def _check_root(self) -> None:
        """Refuse a cache to which another user can write: its functions would run as this user.

        Raise FetchError, and FileNotFoundError if there is none.
        """
        status = self._root.lstat()
        if not stat.S_ISDIR(status.st_mode):
            fault = "is not a directory"
        elif sys.platform == "win32":  # only this user can write to LOCALAPPDATA: docs/windows.md
            return
        elif status.st_uid != os.geteuid():
            fault = f"belongs to user {status.st_uid}, not to {os.geteuid()}"
        elif status.st_mode & 0o022:
            fault = "can be written by other users"
        else:
            return
        raise FetchError(f"the function cache {self._root} {fault}; remove it, or {_ADVICE}")

    @contextmanager
    def _lock_file(self, name: str) -> Iterator[int]:
        with _explained(self._root / "locks" / name):
            lock = os.open(self._root / "locks" / name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield lock
        finally:
            os.close(lock)

    def _sweep(self) -> None:
        """Remove the incomplete directories of dead processes and cancelled fetches."""
        for left_over in (self._root / "partial").iterdir():
            with self._lock_file(left_over.name) as lock:
                if _try_lock(lock):
                    remove(os.fspath(left_over))


def encoded(key: Key) -> str:
    """Return a unique file name for `key`, short and without capitals: its first part, and a digest of all parts."""
    return f"{key[0]}@{hashlib.sha256(ascii(key).encode()).hexdigest()}"


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


if sys.platform == "win32":

    def default_root() -> Path:
        """Return the cache's directory: below LOCALAPPDATA, which belongs to this user, else below TEMP."""
        return Path(os.environ.get(VARIABLE) or temporary.directory(), "step-runner", "functions")

else:

    def default_root() -> Path:
        """Return the cache's directory, which may be missing yet.

        It is below XDG_CACHE_HOME, else below `.cache` in the home directory. If another user could replace it there,
        or if it cannot be written there, it is below TMPDIR and has this user's number in its name.
        """
        base = os.environ.get(VARIABLE) or os.path.expanduser("~/.cache")
        root = Path(os.path.realpath(base), "step-runner", "functions")
        if os.path.isabs(base) and _is_usable(root):
            return root
        return Path(temporary.directory(), f"step-runner-cache-{os.geteuid()}")

    def _is_usable(root: Path) -> bool:
        there = [path for path in (root, *root.parents) if path.exists()]
        return os.access(there[0], os.W_OK | os.X_OK) and all(map(_is_safe, there))

    def _is_safe(directory: Path) -> bool:
        """Return whether no other user but root can rename files in a directory, as sshd's StrictModes requires."""
        status = directory.stat()
        mode = status.st_mode
        is_closed = not mode & 0o022 or mode & stat.S_ISVTX
        return stat.S_ISDIR(mode) and status.st_uid in (0, os.geteuid()) and bool(is_closed)
