"""Directories that only this user can write to, for what no other user may have put there."""

from __future__ import annotations

import contextlib
import os
import stat
import sys

SESSION_VARIABLE = "XDG_RUNTIME_DIR"
SESSIONS = "/run/user"
"""Where the directories of login sessions lie, systemd(1); a service of the same user has no variable that says so."""

if sys.platform == "win32":

    def session() -> str | None:
        """There is none; the directory for temporary files is the user's own."""
        return None

else:

    def session() -> str | None:
        """Return the directory of this user's login session, None without one; an empty variable says that, too."""
        directory = os.environ.get(SESSION_VARIABLE, f"{SESSIONS}/{os.getuid()}")
        return directory if os.path.isabs(directory) and is_private(directory) else None

    def is_private(directory: str) -> bool:
        """Whether there is a directory in which only this user can make files."""
        with contextlib.suppress(OSError):
            status = os.stat(directory)
            return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
        return False
