"""The parts that differ between systems: the rest of the package is the same for all."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from gracefulexitcmd.windows.command import CommandRun
    from gracefulexitcmd.windows.container import ManualContainer
    from gracefulexitcmd.windows.container import ManualContainer as ProcessSet
    from gracefulexitcmd.windows.poller import Poller, Ready
    from gracefulexitcmd.windows.teardown import Teardown
else:
    from gracefulexitcmd.posix.command import CommandRun
    from gracefulexitcmd.posix.container import ManualContainer
    from gracefulexitcmd.posix.poller import Poller, Ready
    from gracefulexitcmd.posix.process_set import ProcessSet
    from gracefulexitcmd.posix.teardown import Teardown

__all__ = ["CommandRun", "ManualContainer", "Poller", "ProcessSet", "Ready", "Teardown"]
