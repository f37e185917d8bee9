"""The pipes of a program that collects its commands' output itself."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from gracefulexitcmd.windows.pipes import pipe_to_read
else:
    from gracefulexitcmd.posix.output import move
    from gracefulexitcmd.posix.takeover import flush, share, withdraw

__all__ = ["flush", "move", "pipe_to_read", "share", "withdraw"]
