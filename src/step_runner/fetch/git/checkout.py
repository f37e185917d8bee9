"""Writes the files of a commit to one directory and nowhere else; this module loads dulwich."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar, cast

from dulwich.config import ConfigFile, parse_submodules
from dulwich.index import validate_path_element_hfs, validate_path_element_ntfs
from dulwich.object_store import peel_sha
from dulwich.objects import S_ISGITLINK, Blob, Commit, ObjectID, ShaFile, Tree

from step_runner.fetch.messages import RefusedError
from step_runner.paths import is_plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from step_runner.fetch.git.client import Objects
    from step_runner.fetch.limits import Limits
    from step_runner.proc import Proc


_Kind = TypeVar("_Kind", Blob, Commit, Tree)

ROOT = PurePosixPath()
"""The path of the repository itself."""


class TreeError(RefusedError):
    """The reason why the files of a commit cannot be written."""

    def __str__(self) -> str:
        return f"{super().__str__()}; it is refused, correct it in the repository"


class Checkout:
    """Writes the files of commits below one directory, to which no other process writes.

    `finish` makes the symbolic links last. Until then there are none, so no file can be written through one.
    """

    def __init__(self, directory: Path, proc: Proc, limits: Limits) -> None:
        """Write below `directory`. Count each write in `limits` first, and raise its errors unchanged."""
        self._root = directory
        self._limits = limits
        self._proc = proc
        self._links: list[tuple[PurePosixPath, str]] = []

    def write(self, store: Objects, commit: str, below: PurePosixPath = ROOT) -> Mapping[PurePosixPath, str]:
        """Write the files of `commit`, and return the commits of its submodules by their paths.

        Raise TreeError if an entry would leave the directory, and KeyError if `store` lacks an object.
        """
        submodules: dict[PurePosixPath, str] = {}
        pending = [(below, _commit(store, commit).tree)]
        while pending:
            directory, tree = pending.pop()
            for name, mode, hash_ in _tree(store, tree).iteritems():
                self._proc.check()
                path = directory / _checked(name, directory)
                self._limits.take_entry(path)
                if stat.S_ISDIR(mode):
                    pending.append((path, hash_))
                    self._make_directory(path)
                elif S_ISGITLINK(mode):
                    submodules[path] = hash_.decode()
                    self._make_directory(path)
                else:
                    self._write_file(path, mode, store, hash_)
        return submodules

    def finish(self) -> None:
        """Make the symbolic links. Raise TreeError if one leads out of the directory, and StoppedError."""
        for path, target in self._links:
            self._proc.check()
            with _once(path):
                (self._root / path).symlink_to(target)
        for path, target in self._links:
            self._proc.check()
            # Path.resolve raises an error for links in a circle, which do no harm. The text of one link is not enough.
            inside = Path(os.path.realpath(self._root / path)).is_relative_to(os.path.realpath(self._root))
            if PurePath(target).is_absolute() or not inside:
                raise TreeError(f"the symbolic link {_shown(path)} leads out of the repository, to {_shown(target)}")

    def _make_directory(self, path: PurePosixPath) -> None:
        with _once(path):
            (self._root / path).mkdir()

    def _write_file(self, path: PurePosixPath, mode: int, store: Objects, hash_: bytes) -> None:
        if stat.S_ISLNK(mode):
            self._links.append((path, os.fsdecode(_blob(store, hash_))))
            return
        if not stat.S_ISREG(mode):
            raise TreeError(f"{_shown(path)} has the unknown mode {mode:o}")
        permissions = 0o777 if mode & stat.S_IXUSR else 0o666
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        with _once(path), os.fdopen(os.open(self._root / path, flags, permissions), "wb") as file:
            for piece in store.pieces(hash_):
                self._proc.check()
                self._limits.take_bytes(len(piece))
                file.write(piece)


def submodule_urls(store: Objects, commit: str, below: PurePosixPath = ROOT) -> dict[PurePosixPath, str]:
    """Return the URLs of submodules, by their paths, from the file .gitmodules of `commit`, written at `below`."""
    root = _tree(store, _commit(store, commit).tree)
    if b".gitmodules" not in root:
        return {}
    mode, hash_ = root[b".gitmodules"]
    if not stat.S_ISREG(mode):
        return {}
    settings = ConfigFile.from_file(BytesIO(_blob(store, hash_)))
    urls = parse_submodules(settings)
    return {below / os.fsdecode(path): url.decode("utf-8", "replace") for path, url, _ in urls}


def _checked(name: bytes, directory: PurePosixPath) -> str:
    """Return `name`. Raise TreeError if a file system reads it as `..`, `.git` or a path, or if this one forbids it."""
    utf8 = name.decode("utf-8", "replace").encode()  # the check for HFS+ refuses other encodings
    fine = name and b"/" not in name and validate_path_element_ntfs(name) and validate_path_element_hfs(utf8)
    if not fine or not is_plain(os.fsdecode(name)):
        raise TreeError(f"{_shown(os.fsdecode(name))} in {_shown(directory)} is a forbidden name")
    return os.fsdecode(name)


@contextmanager
def _once(path: PurePosixPath) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise TreeError(f"{_shown(path)} occurs twice, perhaps with other capital letters") from None


def _commit(store: Objects, hash_: str) -> Commit:
    """Return the commit with this hash, or the commit to which the annotated tag with this hash points."""
    _, found = peel_sha(cast("Any", store), ObjectID(hash_.encode()))
    return _typed(found, Commit, hash_)


def _tree(store: Objects, hash_: bytes) -> Tree:
    return _typed(store[hash_], Tree, hash_.decode())


def _blob(store: Objects, hash_: bytes) -> bytes:
    return _typed(store[hash_], Blob, hash_.decode()).data


def _typed(found: ShaFile, kind: type[_Kind], hash_: str) -> _Kind:
    if not isinstance(found, kind):
        raise TreeError(f"{hash_} is not a {kind.type_name.decode()}")
    return found


def _shown(path: PurePosixPath | str) -> str:
    return repr(str(path))
