"""What every system has in a form of its own: the rest of the package is the same for all of them."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from gracefulexitcmd.windows.command import CommandRun
    from gracefulexitcmd.windows.container import Container
    from gracefulexitcmd.windows.container import Container as Membership
    from gracefulexitcmd.windows.members import Members, members_of
    from gracefulexitcmd.windows.poller import Poller, Ready
else:
    from gracefulexitcmd.posix.command import CommandRun
    from gracefulexitcmd.posix.container import Container
    from gracefulexitcmd.posix.members import Members, members_of
    from gracefulexitcmd.posix.poller import Poller, Ready
    from gracefulexitcmd.posix.targets import Membership

__all__ = ["CommandRun", "Container", "Members", "Membership", "Poller", "Ready", "members_of"]
