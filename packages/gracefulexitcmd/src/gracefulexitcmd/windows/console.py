"""The events of a console, by which processes on Windows are asked to stop."""

from __future__ import annotations

from gracefulexitcmd.windows import calls

CTRL_BREAK_EVENT = 1


def send_break(group: int) -> bool:
    """Send CTRL_BREAK to a console group; False where that is not possible, as without a console.

    It reaches the processes of the group that share this process's console. Who has no handler for it ends.
    """
    assert group > 0, "0 is everybody at this console"
    try:
        calls.generate_console_event(CTRL_BREAK_EVENT, group)
    except OSError:
        return False
    return True
