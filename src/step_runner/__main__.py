"""The command `step-runner`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the arguments name, and exit with its status; 130 is that of Ctrl-C."""
    if None in (sys.stdin, sys.stdout, sys.stderr):  # closed when Python started
        from gracefulexitcmd.descriptors import fill_closed

        fill_closed()
    try:
        from step_runner.cli.main import run

        status = run(sys.argv[1:])
    except KeyboardInterrupt:  # before anything runs that has to be stopped
        sys.exit(130)
    if status >= 1 << 31:  # only Windows has such a status, and `--help` need not import this
        from gracefulexitcmd.exit import exit_code

        status = exit_code(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
