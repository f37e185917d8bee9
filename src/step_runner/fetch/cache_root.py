"""Where the function cache lies: functions from there run as this user, so nobody else may be able to write there."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
"""The variable that chooses another place."""

if sys.platform == "win32":

    def default_root() -> Path:
        """Return the cache's directory: below LOCALAPPDATA, which is this user's own, else below TEMP."""
        return Path(os.environ.get(VARIABLE) or tempfile.gettempdir(), "step-runner", "functions")

else:

    def default_root() -> Path:
        """Return the cache's directory, which may be missing yet.

        It lies below XDG_CACHE_HOME, else below `.cache` in the home directory. Where another user could put something
        in its place, or nothing can be written, it lies below TMPDIR and has this user's number in its name.
        """
        fallback = Path(tempfile.gettempdir(), f"step-runner-cache-{os.geteuid()}")
        return next(filter(_is_usable, _places()), fallback)

    def _places() -> Iterator[Path]:
        base = os.environ.get(VARIABLE) or os.path.expanduser("~/.cache")
        if os.path.isabs(base):
            yield Path(os.path.realpath(base), "step-runner", "functions")

    def _is_usable(root: Path) -> bool:
        there = [path for path in (root, *root.parents) if path.exists()]
        return os.access(there[0], os.W_OK | os.X_OK) and all(map(_is_safe, there))

    def _is_safe(directory: Path) -> bool:
        """Whether only this user and root can rename what they own in a directory; as sshd's StrictModes asks."""
        status = directory.stat()
        mode = status.st_mode
        is_closed = not mode & 0o022 or mode & stat.S_ISVTX
        return stat.S_ISDIR(mode) and status.st_uid in (0, os.geteuid()) and bool(is_closed)
