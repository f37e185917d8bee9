"""Builds the root file system of an image: merges layers in one directory and writes nowhere else.

The data filter of tarfile is not enough. It refuses links that are absolute or lead above the root, but images have
such links. It does not support whiteouts. Up to Python 3.11.12, 3.12.10 and 3.13.3 a long path escapes it
(CVE-2025-4517).
"""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict, deque
from typing import TYPE_CHECKING

from step_runner.fetch.messages import RefusedError
from step_runner.paths import is_plain
from step_runner.removal import remove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from typing_extensions import Buffer

    from step_runner.fetch.limits import Limits
    from step_runner.proc import Proc

WHITEOUT = ".wh."

_MOST_LINKS = 40  # that one path may follow, as on Linux: path_resolution(7)
_LONGEST_LINK = 4096  # characters: more than a symbolic link can have on Linux, symlink(2)
_DEEPEST = 256  # nested directories: a walk needs an interpreter frame for each
_PIECE = 1 << 20  # bytes


class LayerError(RefusedError):
    """The reason why a layer cannot be unpacked."""


class RootFs:
    """A directory to which no other process writes; programs in the image would see it as `/`.

    A place is a path below the root without symbolic links, `.` and `..`; "" is the root. All path arguments are paths
    of the image; their links are followed inside the root. Until `finish` there are no symbolic links on the disk, so
    no file can be written through one.
    """

    def __init__(self, root: Path, proc: Proc, limits: Limits) -> None:
        """Begin with an empty directory. Count each write in `limits` first, and raise its errors unchanged."""
        self.limits = limits
        self._root = str(root)
        self._proc = proc
        # The places that this layer has written, and their parent directories.
        self._fresh: set[str] = set()
        # The targets of symbolic links, by the place of their directory and their name.
        self._links: defaultdict[str, dict[str, str]] = defaultdict(dict)

    def begin_layer(self) -> None:
        """Begin a layer, which may hide files of the layers below."""
        self._fresh.clear()

    def add_directory(self, path: str, mode: int) -> None:
        """Make a directory that its owner can use whatever its mode is; keep an existing one."""
        if place := self._place(path):
            self._make_directory(place)
            os.chmod(self._path(place), (mode & 0o755) | 0o700)
            self._keep(place)

    def add_file(self, path: str, mode: int, read: Callable[[int], Buffer], size: int) -> None:
        """Write a file of `size` bytes that its owner can read whatever its mode is.

        `read` returns the next bytes, at most the number that it gets. Raise LayerError if it returns none, and
        StoppedError after a cancel.
        """
        self.limits.take_bytes(size)
        place = self._vacant(path)
        # O_EXCL does not follow a symbolic link: open(2).
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with open(os.open(self._path(place), flags, 0o600), "wb") as file:
            while size:
                self._proc.check()
                piece = read(min(size, _PIECE))
                if not piece:
                    raise LayerError(f"ends in the middle of {_shown(path)}")
                size -= file.write(piece)
        os.chmod(self._path(place), (mode & 0o755) | 0o400)

    def add_link(self, path: str, target: str) -> None:
        """Keep a symbolic link until `finish`. Raise LayerError if no system can make it."""
        if len(target) >= _LONGEST_LINK:
            raise LayerError(f"has the symbolic link {_shown(path)} to a path of {len(target)} characters")
        directory, _, name = self._vacant(path, text=target).rpartition("/")
        self._links[directory][name] = target

    def add_hard_link(self, path: str, target: str) -> None:
        """Make another name of a file or a symbolic link. Raise LayerError if it is not in the image."""
        source = self._place(target)
        directory, _, name = source.rpartition("/")
        if (link := self._links.get(directory, {}).get(name)) is not None:
            self.add_link(path, posixpath.join("/", directory, link))
            return
        place = self._vacant(path, spare=source)
        # The entry removed for the new name may have been the target itself.
        if not os.path.isfile(self._path(source)):
            raise LayerError(f"has the hard link {_shown(path)} to {_shown(target)}, which is not a file of the image")
        if place != source:
            os.link(self._path(source), self._path(place), follow_symlinks=False)

    def remove(self, path: str) -> None:
        """Remove this path of lower layers. Raise LayerError for the root, and StoppedError after a cancel."""
        place = self._place(path)
        if not place:
            raise LayerError("hides the root of the image")
        self._hide(place)

    def clear(self, path: str) -> None:
        """Remove the content of this directory from lower layers. Raise StoppedError after a cancel."""
        place = self._resolve(_parts(path))
        if self._is_directory(place):
            self._hide_content(place)

    def finish(self) -> None:
        """Make the symbolic links, each to its target in the image, inside the root. Raise StoppedError after a cancel.

        Leave out links in a circle, and links to a name that this system does not allow.
        """
        for directory, links in self._links.items():
            for name, target in links.items():
                self._proc.check()
                leading = self._relative(directory, target)
                if leading is not None:
                    os.symlink(leading, self._path(_below(directory, name)))

    def _relative(self, directory: str, target: str) -> str | None:
        """Return a relative link to the target: first up through real directories, then only down."""
        *parents, name = target.split("/")
        if name in ("", ".", ".."):
            parents, name = [*parents, name], ""
        try:
            place = self._resolve(parents, "" if target.startswith("/") else directory)
            return posixpath.relpath(f"/{_below(place, _plain(name))}", f"/{directory}")
        except LayerError:
            return None

    # Places.

    def _place(self, path: str) -> str:
        """Return the place of a path; do not follow its last part."""
        *directory, name = _parts(path) or [""]
        return _below(self._resolve(directory), name)

    def _resolve(self, path: Iterable[str], start: str = "") -> str:
        """Return the place of the parts of a path from `start` on; follow all links as after chroot(2)."""
        pending, place, followed = deque(path), start, 0
        while pending:
            part = pending.popleft()
            if part == "..":
                place = place.rpartition("/")[0]
            if part in ("", ".", ".."):
                continue
            target = self._links.get(place, {}).get(_plain(part))
            if target is None:
                place = _below(place, part)
                if place.count("/") >= _DEEPEST:
                    raise LayerError(f"has more than {_DEEPEST} directories in one another, {_shown(part)} the last")
                continue
            followed += 1
            if followed > _MOST_LINKS:
                raise LayerError(f"has a path through more than {_MOST_LINKS} symbolic links, {_shown(part)} in it")
            place = "" if target.startswith("/") else place
            pending.extendleft(reversed(target.split("/")))
        return place

    def _vacant(self, path: str, spare: str | None = None, text: str = "") -> str:
        """Return the place of a path; remove an entry there unless it is `spare`, and make its directory.

        `text` is what is kept in memory for the new entry, besides its place.
        """
        *parents, name = _parts(path) or [""]
        if not name:
            raise LayerError("has a file without a name")
        directory = self._resolve(parents)
        self._make_directory(directory)
        self._keep(directory)
        place = _below(directory, name)
        if place != spare:
            self._remove(place)
        self.limits.take_entry(place + text)
        self._fresh.add(place)
        return place

    def _make_directory(self, place: str) -> None:
        """Make a directory and its parents; remove a file or link that has its name."""
        if self._is_directory(place):
            return
        self._make_directory(posixpath.dirname(place))
        self._remove(place)
        self.limits.take_entry(place)
        os.mkdir(self._path(place), 0o755)

    def _keep(self, place: str) -> None:
        while place and place not in self._fresh:
            self._fresh.add(place)
            place = posixpath.dirname(place)

    def _hide(self, place: str) -> None:
        if place not in self._fresh:
            self._remove(place)
        elif self._is_directory(place):
            self._hide_content(place)

    def _hide_content(self, directory: str) -> None:
        for name in (*os.listdir(self._path(directory)), *self._links.get(directory, ())):
            self._hide(_below(directory, name))

    def _remove(self, place: str) -> None:
        """Remove the entry at a place, if there is one."""
        self._proc.check()
        directory, _, name = place.rpartition("/")
        self._links.get(directory, {}).pop(name, None)
        if not os.path.lexists(self._path(place)):
            return
        if not self._is_directory(place):
            os.unlink(self._path(place))
            return
        for below in [one for one in self._links if f"{one}/".startswith(f"{place}/")]:
            del self._links[below]
        remove(self._path(place))

    # Existing entries.

    def _path(self, place: str) -> str:
        return _below(self._root, place)

    def _is_directory(self, place: str) -> bool:
        return os.path.isdir(self._path(place))


def _parts(path: str) -> list[str]:
    """Return the names in a path. Raise LayerError if one is `..`, which no honest tool writes."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in path:
        raise LayerError(f"has the path {_shown(path)}, which leads out of the image")
    return list(map(_plain, parts))


def _plain(name: str) -> str:
    """Return a name. Raise LayerError if it is reserved for whiteouts or not possible on this system."""
    if name.startswith(WHITEOUT):
        raise LayerError(f"has the name {_shown(name)}, which is reserved for whiteouts")
    if not is_plain(name):
        raise LayerError(f"has the name {_shown(name)}, which no file of this system can have")
    return name


def _below(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory and name else directory or name


def _shown(path: str) -> str:
    return ascii(path[:200])
