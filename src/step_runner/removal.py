"""Removes directories: very deep ones, ones without permissions, and ones that change meanwhile."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from typing import NamedTuple

if sys.platform == "win32":

    def remove(directory: str) -> bool:
        """Remove a directory and its content as far as possible; return whether it is gone."""
        import shutil

        shutil.rmtree(directory, ignore_errors=True)
        return not os.path.lexists(directory)

else:
    DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

    def remove(directory: str) -> bool:
        """Remove a directory and its content as far as possible; return whether it is gone.

        It follows no link, even if another process replaces a directory by a link meanwhile. It removes nothing that is
        mounted in the directory. Unlike shutil.rmtree it needs neither a descriptor nor a stack frame for each level:
        a tree can be deeper than either limit. It also enters directories whose mode forbids that.
        """
        with contextlib.suppress(OSError):
            walk = _Walk(_opened(directory))
            try:
                walk.remove_everything()
            finally:
                walk.close()
        with contextlib.suppress(OSError):
            os.rmdir(directory)
        return not os.path.lexists(directory)

    class _Above(NamedTuple):
        """A directory above the current one: the child that the walk has entered, and those yet to be entered."""

        identity: tuple[int, int]
        taken: str
        left: list[str]

    class _Walk:
        """Walks through the tree; only the current directory is open, and the ones above are known by identity."""

        def __init__(self, top: int) -> None:
            self._here = top
            self._mount = _mount(top)
            self._left = _without_files(top)
            self._above: list[_Above] = []

        def close(self) -> None:
            os.close(self._here)

        def remove_everything(self) -> None:
            """Remove the content of the top directory. Raise OSError if a directory is moved away meanwhile."""
            while self._left or self._above:
                if self._left:
                    self._descend(self._left.pop())
                else:
                    self._ascend()

        def _descend(self, name: str) -> None:
            with contextlib.suppress(OSError):
                below = _opened(name, self._here)
                if _mount(below) != self._mount:
                    os.close(below)
                    return
                self._above.append(_Above(_identity(self._here), name, self._left))
                self._left = []
                self._move(below)
                self._left = _without_files(below)

        def _ascend(self) -> None:
            identity, taken, self._left = self._above.pop()
            self._move(os.open("..", DIRECTORY, dir_fd=self._here))
            if _identity(self._here) != identity:
                raise OSError("the directory was moved")
            with contextlib.suppress(OSError):
                os.rmdir(taken, dir_fd=self._here)

        def _move(self, to: int) -> None:
            os.close(self._here)
            self._here = to

    def _opened(name: str, directory: int | None = None) -> int:
        """Open a directory and give its owner all permissions; return the descriptor. Raise OSError."""
        try:
            descriptor = os.open(name, DIRECTORY, dir_fd=directory)
        except PermissionError:
            _make_usable(name, directory)
            descriptor = os.open(name, DIRECTORY, dir_fd=directory)
        with contextlib.suppress(OSError):  # it belongs to another user
            if os.fstat(descriptor).st_mode & stat.S_IRWXU != stat.S_IRWXU:
                os.fchmod(descriptor, stat.S_IRWXU)
        return descriptor

    def _make_usable(name: str, directory: int | None) -> None:
        """Give the owner all permissions on a directory; only Linux can do that without following a link.

        Raise PermissionError on other systems.
        """
        if sys.platform != "linux":
            raise PermissionError
        place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            os.chmod(f"/proc/self/fd/{place}", stat.S_IRWXU)
        finally:
            os.close(place)

    def _without_files(directory: int) -> list[str]:
        """Remove all files in a directory; return the names of its directories."""
        with os.scandir(directory) as entries:
            found = list(entries)
        left = [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]
        for name in {entry.name for entry in found}.difference(left):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory)
        return left

    def _mount(directory: int) -> str:
        """Return the mount that contains a directory, from proc(5), or its device if /proc has no answer."""
        with contextlib.suppress(OSError), open(f"/proc/self/fdinfo/{directory}") as lines:
            return next((line for line in lines if line.startswith("mnt_id:")), "")
        return str(os.fstat(directory).st_dev)

    def _identity(directory: int) -> tuple[int, int]:
        status = os.fstat(directory)
        return status.st_dev, status.st_ino
