"""The command `step-runner`."""

from __future__ import annotations

import gc
import sys

FIRST_COLLECTION = 100_000
"""New objects before the collector looks for cycles: importing makes tens of thousands, and no garbage."""


def main() -> None:
    """Run the command that the arguments name, and exit with its status; 130 is that of Ctrl-C."""
    gc.set_threshold(FIRST_COLLECTION)
    if None in (sys.stdin, sys.stdout, sys.stderr):  # closed when Python started
        from gracefulexitcmd.program import fill_closed

        fill_closed()
    from step_runner.imports import delay_seldom_used

    delay_seldom_used()
    try:
        from step_runner.cli.supervision import run

        status = run(sys.argv[1:])
    except KeyboardInterrupt:  # before anything runs that has to be stopped
        sys.exit(130)
    if status >= 1 << 31:  # only Windows has such a status, and `--help` need not import this
        from gracefulexitcmd.program import exit_code

        status = exit_code(status)
    from step_runner.leaving import leave

    leave(status)


if __name__ == "__main__":
    main()
