"""Console events, which ask processes on Windows to stop."""

from __future__ import annotations

from gracefulexitcmd.windows import calls

CTRL_BREAK_EVENT = 1


def send_break(group: int) -> bool:
    """Send CTRL_BREAK to a console group; return False if that is not possible, for example without a console.

    It reaches the processes of the group that share this process's console. A process without a handler for it ends.
    """
    assert group > 0, "0 is every process on this console"
    try:
        calls.generate_console_event(CTRL_BREAK_EVENT, group)
    except OSError:
        return False
    return True
