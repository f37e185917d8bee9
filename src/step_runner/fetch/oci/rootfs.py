"""The root file system of an image: layers, laid over each other in one directory and written nowhere else.

The data filter of tarfile is not enough for it: it refuses links that are absolute or lead above the root, as images
have them, and knows no whiteouts; up to Python 3.11.12, 3.12.10 and 3.13.3 a long path leads it out (CVE-2025-4517).
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import sys
from collections import deque
from typing import IO, TYPE_CHECKING
from urllib.parse import quote, unquote

from step_runner.fetch.messages import RefusedError
from step_runner.paths import is_plain
from step_runner.removal import remove

if TYPE_CHECKING:
    from pathlib import Path

    from step_runner.fetch.limits import Limits
    from step_runner.proc import Proc

WHITEOUT = ".wh."

_MOST_LINKS = 40  # that one path may follow, as Linux has it
_LONGEST_LINK = 4096  # characters, which no symbolic link can have on Linux, symlink(2)
_DEEPEST = 256  # directories in one another, of which each takes a frame of the interpreter to be looked through
_MOST_MADE = 1000
_PIECE = 1 << 20  # bytes
_NO_LINK = (errno.EINVAL, errno.ENOENT, errno.ENOTDIR)  # readlink(2)


class LayerError(RefusedError):
    """A layer that cannot be unpacked, and why."""


class RootFs:
    """A directory to which nothing else writes; its root is what programs in the image would see as `/`.

    A place is a path below the root that leads through no symbolic link, without `.` and `..`; "" is the root. All
    paths that come in are those of the image, where links are followed inside of the root. Until `finish` a link on the
    disk leads to a name that only a whiteout can have, so that nothing can be written through it.
    """

    def __init__(self, root: Path, proc: Proc, limits: Limits) -> None:
        """Begin with an empty directory. `limits` are asked before anything is written; what they raise passes."""
        self.limits = limits
        self._root = str(root)
        self._proc = proc
        # The places that this layer has written, with the directories above.
        self._fresh: set[str] = set()
        # The directories, by their paths as written, that this layer has files in: most files share one with others.
        self._made: dict[str, str] = {}

    def begin_layer(self) -> None:
        """Let the next layer hide what is there."""
        self._fresh.clear()
        self._made.clear()

    def add_directory(self, path: str, mode: int) -> None:
        """Make a directory, which its owner can use whatever its mode is; one that is there is kept."""
        if place := self._place(path):
            self._make_directory(place)
            os.chmod(self._path(place), (mode & 0o755) | 0o700)
            self._keep(place)

    def add_file(self, path: str, mode: int, content: IO[bytes], size: int) -> None:
        """Write a file of `size` bytes, which its owner can read whatever its mode is.

        Raise LayerError where there are fewer bytes, and StoppedError.
        """
        if size < 0:
            raise LayerError(f"has a file of {size} bytes, {_shown(path)}")
        self.limits.take_bytes(size)
        place = self._vacant(path)
        # O_EXCL follows no link, open(2).
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with open(os.open(self._path(place), flags, 0o600), "wb") as file:
            while size:
                self._proc.check()
                piece = content.read(min(size, _PIECE))
                if not piece:
                    raise LayerError(f"ends in the middle of {_shown(path)}")
                size -= file.write(piece)
        os.chmod(self._path(place), (mode & 0o755) | 0o400)

    def add_link(self, path: str, target: str) -> None:
        """Hold a symbolic link. Raise LayerError where no system can make it."""
        held = WHITEOUT + quote(target, safe="", errors="surrogateescape")
        if len(held) >= _LONGEST_LINK:
            raise LayerError(f"has the symbolic link {_shown(path)} to a path of {len(target)} characters")
        os.symlink(held, self._path(self._vacant(path)))
        self._made.clear()

    def add_hard_link(self, path: str, target: str) -> None:
        """Make another name of a file or of a symbolic link. Raise LayerError where there is none of this name."""
        source = self._place(target)
        link = self._link(source)
        if link is not None:
            self.add_link(path, posixpath.join("/", posixpath.dirname(source), link))
            return
        place = self._vacant(path, spare=source)
        # What was in the way of the new name may have been the file itself.
        if not self._is_file(source):
            raise LayerError(f"has the hard link {_shown(path)} to {_shown(target)}, which is not a file of the image")
        if place != source:
            os.link(self._path(source), self._path(place), follow_symlinks=False)

    def remove(self, path: str) -> None:
        """Hide what lower layers have under this path. Raise LayerError for the root, and StoppedError."""
        place = self._place(path)
        if not place:
            raise LayerError("hides the root of the image")
        self._hide(place)

    def clear(self, path: str) -> None:
        """Hide what lower layers have in this directory. Raise StoppedError."""
        place = self._resolve("/".join(_parts(path)))
        if self._is_directory(place):
            self._hide_content(place)

    def finish(self) -> None:
        """Have each symbolic link lead to where it led in the image, inside of the root. Raise StoppedError.

        Those that lead nowhere are left out: links in a circle, and to what no file of this system can be called.
        """
        for directory, names, files in os.walk(self._root):
            place = os.path.relpath(directory, self._root).replace(os.sep, "/").removeprefix(".")
            for name in (*names, *files):
                target = self._link(_below(place, name))
                if target is not None:
                    self._proc.check()
                    os.unlink(os.path.join(directory, name))
                    leading = self._relative(place, target)
                    if leading is not None:
                        os.symlink(leading, os.path.join(directory, name))

    def _relative(self, directory: str, target: str) -> str | None:
        """Return the text of a link to the target: upwards through real directories, then downwards only."""
        parents, _, name = target.rpartition("/")
        if name in ("", ".", ".."):
            parents, name = target, ""
        try:
            place = self._resolve(parents, "" if target.startswith("/") else directory)
            return posixpath.relpath(f"/{_below(place, _plain(name))}", f"/{directory}")
        except LayerError:
            return None

    # Places.

    def _place(self, path: str) -> str:
        """Return the place of a path, itself not followed."""
        directory, _, name = "/".join(_parts(path)).rpartition("/")
        return _below(self._resolve(directory), name) if name else ""

    def _resolve(self, path: str, start: str = "") -> str:
        """Return where a path leads from `start`, with all links followed, as if the root were the system's."""
        pending, place, followed = deque(path.split("/")), start.split("/") if start else [], 0
        while pending:
            part = pending.popleft()
            if part == "..":
                del place[-1:]
            if part in ("", ".", ".."):
                continue
            target = self._link("/".join((*place, _plain(part))))
            if target is not None:
                followed += 1
                if followed > _MOST_LINKS:
                    raise LayerError(f"has a path through more than {_MOST_LINKS} symbolic links, {_shown(part)} in it")
                place = [] if target.startswith("/") else place
                pending.extendleft(reversed(target.split("/")))
                continue
            place.append(part)
            if len(place) > _DEEPEST:
                raise LayerError(f"has more than {_DEEPEST} directories in one another, {_shown(part)} the last")
        return "/".join(place)

    def _vacant(self, path: str, spare: str | None = None) -> str:
        """Return the place of a path, after what was there is gone and its directory made; `spare` is left alone."""
        directory, _, name = "/".join(_parts(path)).rpartition("/")
        if not name:
            raise LayerError("has a file without a name")
        place = _below(self._parent(directory), name)
        if place != spare and os.path.lexists(self._path(place)):
            self._remove(place)
        self.limits.take_entry(place)
        self._fresh.add(place)
        return place

    def _parent(self, directory: str) -> str:
        """Return the place of a directory that is to hold a file, made where it is missing."""
        place = self._made.get(directory)
        if place is None:
            place = self._resolve(directory)
            self._make_directory(place)
            self._keep(place)
            if len(self._made) == _MOST_MADE:
                self._made.clear()
            self._made[directory] = place
        return place

    def _make_directory(self, place: str) -> None:
        """Make a directory and those above it; a file or link that is in the way goes."""
        if self._is_directory(place):
            return
        self._make_directory(posixpath.dirname(place))
        if os.path.lexists(self._path(place)):
            self._remove(place)
        self.limits.take_entry(place)
        os.mkdir(self._path(place), 0o755)

    def _keep(self, place: str) -> None:
        while place and place not in self._fresh:
            self._fresh.add(place)
            place = posixpath.dirname(place)

    def _hide(self, place: str) -> None:
        if self._is_directory(place) and place in self._fresh:
            self._hide_content(place)
        elif place not in self._fresh and os.path.lexists(self._path(place)):
            self._remove(place)

    def _hide_content(self, directory: str) -> None:
        for name in os.listdir(self._path(directory)):
            self._hide(_below(directory, name))

    def _remove(self, place: str) -> None:
        self._proc.check()
        self._made.clear()
        if self._is_directory(place):
            remove(self._path(place))
        else:
            os.unlink(self._path(place))

    # What is there.

    def _path(self, place: str) -> str:
        return _below(self._root, place)

    def _link(self, place: str) -> str | None:
        """Return the target of a link in the image, None for what is no link."""
        try:
            text = os.readlink(self._path(place))
        except OSError as error:
            if error.errno in _NO_LINK:
                return None
            raise
        if text.startswith(WHITEOUT):
            return unquote(text.removeprefix(WHITEOUT), errors="surrogateescape")
        return text.replace("\\", "/") if sys.platform == "win32" else text  # `finish` was here

    def _is_directory(self, place: str) -> bool:
        return os.path.isdir(self._path(place))

    def _is_file(self, place: str) -> bool:
        try:
            return stat.S_ISREG(os.lstat(self._path(place)).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False


def _parts(path: str) -> list[str]:
    """Return the names in a path. Raise LayerError where it leads upwards, which no honest tool writes."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in path:
        raise LayerError(f"has the path {_shown(path)}, which leads out of the image")
    return list(map(_plain, parts))


def _plain(name: str) -> str:
    """Return a name. Raise LayerError where it would mean something else here."""
    if name.startswith(WHITEOUT):
        raise LayerError(f"has the name {_shown(name)}, which is reserved for whiteouts")
    if not is_plain(name):
        raise LayerError(f"has the name {_shown(name)}, which no file of this system can have")
    return name


def _below(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory and name else directory or name


def _shown(path: str) -> str:
    return ascii(path[:200])
