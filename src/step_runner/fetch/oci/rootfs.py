"""The files of an image, laid over each other layer by layer in one directory, and written nowhere else."""

from __future__ import annotations

import os
import posixpath
import stat
from collections import deque
from typing import IO, TYPE_CHECKING, TypeAlias

from step_runner.paths import is_plain

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from step_runner.fetch.cancellation import Cancellation
    from step_runner.fetch.limits import Limits

Place: TypeAlias = tuple[str, ...]
"""A path below the root as the names that lead there, none of which is a symbolic link, `.` or `..`."""

_MOST_LINKS = 40  # that one path may follow, as Linux has it
_LONGEST_TARGET = 4096  # characters, which no symbolic link can have on Linux, symlink(2)
_DEEPEST = 256  # directories in one another, of which each takes a frame of the interpreter to be looked through
_ROOM = 256 << 20  # bytes of memory for the names of an image: about a million
_ENTRY = 200  # bytes that a file or link takes beside the letters of its path
_MOST_MADE = 1000
_PIECE = 1 << 20  # bytes


class LayerError(Exception):
    """A layer that cannot be unpacked, and why."""


class Tree:
    """A directory to which nobody else writes; its root is what programs in the image would see as `/`.

    Symbolic links are kept in memory until `finish`: until then there is none on the disk, so that nothing can be
    written through one. All paths that come in are those of the image, where links are followed inside of the root.
    What can take long, removals and `finish`, raises StoppedError after a cancel.
    """

    def __init__(self, root: Path, cancellation: Cancellation, limits: Limits) -> None:
        """`limits` is asked before bytes are written; what it raises passes through."""
        self.limits = limits
        self._root = str(root)
        self._cancellation = cancellation
        self._room = _ROOM
        # By the text of the directory, since a place of many names takes ten times as much memory.
        self._links: dict[str, dict[str, str]] = {}
        # The texts of what the layer that is being laid has written, with the directories above.
        self._fresh: set[str] = set()
        # The directories, by their paths as written, that this layer has files in: most files share one with others.
        self._made: dict[str, Place] = {}

    def begin_layer(self) -> None:
        """From now on everything that is there belongs to lower layers, which the next one can hide."""
        self._fresh.clear()
        self._made.clear()

    def add_directory(self, path: str, mode: int) -> None:
        """Make a directory, which its owner can use whatever its mode is; one that is there is kept."""
        place = self._place(path)
        if place:
            self._make_directory(place)
            os.chmod(self._path(place), (mode & 0o755) | 0o700)
            self._keep(place)

    def add_file(self, path: str, mode: int, content: IO[bytes], size: int) -> None:
        """Write a file of `size` bytes, which its owner can read whatever its mode is. LayerError: there are fewer."""
        if size < 0:
            raise LayerError(f"has a file of {size} bytes, {_shown(path)}")
        self.limits.take_bytes(size)
        place = self._vacant(path)
        # O_EXCL follows no link, open(2).
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with open(os.open(self._path(place), flags, 0o600), "wb") as file:
            while size:
                piece = content.read(min(size, _PIECE))
                if not piece:
                    raise LayerError(f"ends in the middle of {_shown(path)}")
                size -= file.write(piece)
        os.chmod(self._path(place), (mode & 0o755) | 0o400)

    def add_link(self, path: str, target: str) -> None:
        """Remember a symbolic link. LayerError: no system can make it."""
        if len(target) >= _LONGEST_TARGET:
            raise LayerError(f"has the symbolic link {_shown(path)} to a path of {len(target)} characters")
        place = self._vacant(path)
        self._take(len(target))
        self._links.setdefault(_text(place[:-1]), {})[place[-1]] = target
        self._made.clear()

    def add_hard_link(self, path: str, target: str) -> None:
        """Make another name of a file or of a symbolic link. LayerError: there is none of this name."""
        source = self._place(target)
        link = self._link(source)
        if link is not None:
            self.add_link(path, posixpath.join("/", *source[:-1], link))
            return
        place = self._vacant(path, spare=source)
        # What was in the way of the new name may have been the file itself.
        if not self._is_file(source):
            raise LayerError(f"has the hard link {_shown(path)} to {_shown(target)}, which is no file of the image")
        if place != source:
            os.link(self._path(source), self._path(place), follow_symlinks=False)

    def remove(self, path: str) -> None:
        """Hide what lower layers have under this path. LayerError: it is the root."""
        place = self._place(path)
        if not place:
            raise LayerError("hides the root of the image")
        self._hide(place)

    def clear(self, path: str) -> None:
        """Hide what lower layers have in this directory."""
        place = self._resolve(_parts(path))
        if self._is_directory(place):
            self._hide_content(place)

    def finish(self) -> None:
        """Make the symbolic links, each of which leads to where it led in the image, inside of the root.

        Those that lead nowhere are left out: links in a circle, and to what no file of this system can be called.
        """
        for text, links in self._links.items():
            directory = tuple(_parts(text))
            for name, target in links.items():
                self._cancellation.check()
                leading = self._relative(directory, target)
                if leading is not None:
                    os.symlink(leading, self._path((*directory, name)))

    def _relative(self, directory: Place, target: str) -> str | None:
        """The text of a link that leads to the target: upwards through real directories, then downwards only."""
        parents, _, name = target.rpartition("/")
        if name in ("", ".", ".."):
            parents, name = target, ""
        try:
            place = self._resolve(parents.split("/"), () if target.startswith("/") else directory)
            _plain(name)
        except LayerError:
            return None
        place = (*place, name) if name else place
        return posixpath.relpath("/" + _text(place), "/" + _text(directory))

    # Places.

    def _place(self, path: str) -> Place:
        """Where a path is, itself not followed; () is the root."""
        *parents, name = _parts(path) or [""]
        if not name:
            return ()
        return (*self._resolve(parents), name)

    def _resolve(self, parts: Iterable[str], start: Place = ()) -> Place:
        """Where the parts lead from `start`, with all links followed as if the root were that of the file system."""
        pending, place, followed = deque(parts), list(start), 0
        while pending:
            part = pending.popleft()
            target = self._links.get(_text(place), {}).get(part)
            if part == "..":
                del place[-1:]
            elif target is not None:
                followed += 1
                if followed > _MOST_LINKS:
                    raise LayerError(f"has a path through more than {_MOST_LINKS} symbolic links, {_shown(part)} in it")
                place = [] if target.startswith("/") else place
                pending.extendleft(reversed(target.split("/")))
            elif part not in ("", "."):
                place.append(_plain(part))
                if len(place) > _DEEPEST:
                    raise LayerError(f"has more than {_DEEPEST} directories in one another, {_shown(part)} the last")
        return tuple(place)

    def _vacant(self, path: str, spare: Place | None = None) -> Place:
        """Where a path is, after what was there is gone and its directory made; `spare` is left alone."""
        *parents, name = _parts(path) or [""]
        if not name:
            raise LayerError("has a file without a name")
        directory = "/".join(parents)
        parent = self._made.get(directory)
        if parent is None:
            parent = self._resolve(parents)
            self._make_directory(parent)
            self._keep(parent)
            if len(self._made) == _MOST_MADE:
                self._made.clear()
            self._made[directory] = parent
        place = (*parent, name)
        if place != spare and self._exists(place):
            self._remove(place)
        text = _text(place)
        self._take(_ENTRY + len(text))
        self._fresh.add(text)
        return place

    def _take(self, room: int) -> None:
        self._room -= room
        if self._room < 0:
            raise LayerError(f"has more files than the {_ROOM >> 20} MiB for their names hold, about a million")

    def _make_directory(self, place: Place) -> None:
        """Make a directory and those above it; a file or link that is in the way goes."""
        if self._is_directory(place):
            return
        if place[:-1]:
            self._make_directory(place[:-1])
        if self._exists(place):
            self._remove(place)
        path = self._path(place)
        self._take(_ENTRY + len(path))
        os.mkdir(path, 0o755)

    def _keep(self, place: Place) -> None:
        while place and _text(place) not in self._fresh:
            self._fresh.add(_text(place))
            place = place[:-1]

    def _hide(self, place: Place) -> None:
        if _text(place) not in self._fresh:
            self._remove(place)
        elif self._is_directory(place):
            self._hide_content(place)

    def _hide_content(self, directory: Place) -> None:
        names = {*os.listdir(self._path(directory)), *self._links.get(_text(directory), {})}
        for name in names:
            self._hide((*directory, name))

    def _remove(self, place: Place) -> None:
        self._made.clear()
        if self._link(place) is not None:
            del self._links[_text(place[:-1])][place[-1]]
        elif self._is_directory(place):
            self._remove_directory(place)
        elif self._exists(place):
            os.unlink(self._path(place))

    def _remove_directory(self, place: Place) -> None:
        path = self._path(place)
        for directory, _, files in os.walk(path, topdown=False):
            below = os.path.relpath(directory, path)
            self._links.pop(_text(place if below == "." else (*place, *below.split(os.sep))), None)
            for name in files:
                self._cancellation.check()
                os.unlink(os.path.join(directory, name))
            os.rmdir(directory)

    # What is there.

    def _path(self, place: Place) -> str:
        return _text((self._root, *place))

    def _link(self, place: Place) -> str | None:
        return self._links.get(_text(place[:-1]), {}).get(place[-1]) if place else None

    def _exists(self, place: Place) -> bool:
        return self._link(place) is not None or os.path.lexists(self._path(place))

    def _is_directory(self, place: Place) -> bool:
        return os.path.isdir(self._path(place))

    def _is_file(self, place: Place) -> bool:
        try:
            return stat.S_ISREG(os.lstat(self._path(place)).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False


def _parts(path: str) -> list[str]:
    """The names in a path. LayerError: it leads upwards, which no honest tool writes."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in path:
        raise LayerError(f"has the path {_shown(path)}, which leads out of the image")
    return list(map(_plain, parts))


def _plain(name: str) -> str:
    """A name. LayerError: it would mean something else here."""
    if not is_plain(name):
        raise LayerError(f"has the name {_shown(name)}, which no file of this system can have")
    return name


def _text(place: Iterable[str]) -> str:
    return "/".join(place)


def _shown(path: str) -> str:
    return ascii(path[:200])
