"""Removes directories: very deep ones, ones without permissions, and ones that change meanwhile."""

from __future__ import annotations

import contextlib
import os
import stat
import sys

if sys.platform == "win32":

    def remove(directory: str) -> bool:
        """Remove a directory and its content as far as possible; return whether it is gone."""
        import shutil

        shutil.rmtree(directory, ignore_errors=True)
        return not os.path.lexists(directory)

else:
    LEVELS = 50
    """Levels that are open at once. The directories below are moved to the top and removed from there."""

    DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

    def remove(directory: str) -> bool:
        """Remove a directory and its content as far as possible; return whether it is gone.

        It follows no link, even if another process replaces a directory by a link meanwhile. It removes nothing that is
        mounted in the directory. Unlike shutil.rmtree it needs neither a descriptor nor a stack frame for each level:
        a tree can be deeper than either limit. It also enters directories whose mode forbids that.
        """
        with contextlib.suppress(OSError):
            top = _opened(directory)
            try:
                while _clear(top, LEVELS, top, _mount(top)):
                    pass
            finally:
                os.close(top)
        with contextlib.suppress(OSError):
            os.rmdir(directory)
        return not os.path.lexists(directory)

    def _clear(directory: int, levels: int, top: int, mount: str) -> bool:
        """Remove the content of a directory of this mount. Return whether a directory below `levels` went to `top`."""
        moved = False
        for name in _without_files(directory):
            with contextlib.suppress(OSError):
                below = _opened(name, directory)
                try:
                    if _mount(below) != mount:
                        continue
                    if levels:
                        moved |= _clear(below, levels - 1, top, mount)
                    else:
                        os.rename(name, os.urandom(8).hex(), src_dir_fd=directory, dst_dir_fd=top)
                        moved = True
                finally:
                    os.close(below)
                os.rmdir(name, dir_fd=directory)
        return moved

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
