"""Directories that only this user can write to, so that no other user can plant files there."""

from __future__ import annotations

import contextlib
import os
import stat
import sys

SESSION_VARIABLE = "XDG_RUNTIME_DIR"
SESSIONS = "/run/user"
"""The parent of the directories of login sessions, systemd(1); a service of the same user may lack the variable."""

if sys.platform == "win32":

    def session() -> str | None:
        """Return None: Windows has none, and its directory for temporary files belongs to the user."""
        return None

else:

    def session() -> str | None:
        """Return the directory of this user's login session; None without one, or if its variable is empty."""
        directory = os.environ.get(SESSION_VARIABLE, f"{SESSIONS}/{os.getuid()}")
        return directory if os.path.isabs(directory) and is_private(directory) else None

    def is_private(directory: str) -> bool:
        """Return whether this is a directory in which only this user can create files."""
        with contextlib.suppress(OSError):
            status = os.stat(directory)
            return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
        return False
