"""`python -m gracefulexitcmd`: run a command and end it gracefully, for shells."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
import time
from functools import partial

from gracefulexitcmd.cmd import Cmd
from gracefulexitcmd.duration import seconds
from gracefulexitcmd.exit import Cause, exit_code
from gracefulexitcmd.handlers import ignore
from gracefulexitcmd.request import GRACE
from gracefulexitcmd.stop_request import STOP_SIGNALS, Answer, StopRequest
from gracefulexitcmd.surroundings import complaint, undo_locale_coercion

if sys.platform != "win32":
    from gracefulexitcmd.posix.container import reap_forever
    from gracefulexitcmd.posix.suspension import Suspension, suspend

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from gracefulexitcmd.exit import Exit

if sys.platform == "win32":
    OTHER_SIGNALS: tuple[signal.Signals, ...] = ()
else:
    OTHER_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGWINCH)

EPILOG = """\
example:
  python -m gracefulexitcmd --grace 5 --timeout 1m -- make deploy

SIGINT, SIGTERM and SIGHUP stop the command: it gets SIGTERM, and repeats change nothing. A second Ctrl-C, at
least one second after the first signal, or SIGQUIT kills it at once. SIGUSR1, SIGUSR2, SIGALRM and SIGWINCH are
passed on to it. Ctrl-Z suspends it and its child processes, and SIGCONT continues them; that time does not count for
the grace period or the timeout. When the command has ended, its background processes are stopped in the same way. On
Linux none can escape, and orphans are reaped, so this program can be the first process of a container. On a terminal
the command's stdin is empty, because the command does not run in the foreground. On Windows Ctrl-C and Ctrl-Break
stop the command: it gets CTRL_BREAK.

exit status: the command's own; 128 plus the signal if a signal ended it; 126 or 127 if it cannot be run.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; return the exit status."""
    options = _parser().parse_args(arguments)
    argv = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not argv:
        _parser().error("no command: put it after --")
    if sys.platform != "win32":
        undo_locale_coercion()
        if (missing := complaint()) is not None:
            print(f"gracefulexitcmd: cannot run {argv[0]}: {missing}", file=sys.stderr)
            return 126
    return _Session(argv[0], Cmd(argv, grace=options.grace, timeout=options.timeout, contain=True)).run()


class _Session:
    """The command and its background processes; it gets the signals of this process."""

    def __init__(self, program: str, command: Cmd) -> None:
        self._program = program
        self._command = command
        self._request = StopRequest()
        self._stopped_by: int | None = None

    def run(self) -> int:
        """Run the command until all its processes have ended; return the exit status."""
        self._listen()
        try:
            self._command.start()
        except OSError as error:
            print(f"gracefulexitcmd: cannot run {error.filename or self._program}: {error.strerror}", file=sys.stderr)
            return 127 if isinstance(error, FileNotFoundError) else 126
        ended = self._command.wait()
        _report(ended)
        if self._request.at is not None:
            ignore(STOP_SIGNALS)
        if ended.cause is Cause.CANCELLED and self._stopped_by is not None:
            return 128 + self._stopped_by
        return ended.exit_status

    def _listen(self) -> None:
        for numbers, handler in ((STOP_SIGNALS, self._stop), (OTHER_SIGNALS, self._pass_on)):
            for number in numbers:
                # A signal that was ignored at the start, as by nohup(1), stays ignored, but not SIGTERM: CI cancels
                # with it.
                if number is signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, handler)
        if sys.platform != "win32":
            suspension = Suspension()
            suspension.listen(partial(suspend, suspension.stop))
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # only the main thread gets signals
            with contextlib.suppress(RuntimeError):  # no thread can start: reap zombies at the end
                threading.Thread(target=reap_forever, name="reap", daemon=True).start()
            # Not the mask from before: a parent that uses sigwait(3), or `env --block-signal`, may have blocked
            # signals.
            signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._stopped_by = self._stopped_by or number
        self._request, answer = self._request.after(number, time.monotonic())
        if answer is Answer.STOP:
            self._command.cancel()
        elif answer is Answer.HURRY:
            self._command.cancel(grace=0, hurried=self._request.hurried)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self._command.send_signal(number)


def _report(ended: Exit) -> None:
    if ended.cause is Cause.TIMEOUT:
        print(f"gracefulexitcmd: the command was stopped by its --timeout ({ended.reason})", file=sys.stderr)
    if ended.hurried is not None:
        print(f"gracefulexitcmd: killed at once: {ended.hurried}", file=sys.stderr)
    for process in ended.census:
        if process.killed or process.ended_by is None:
            how = f"ended by {process.ended_by}" if process.ended_by else "could not be ended"
            print(f"gracefulexitcmd: {how}: {process.command} (pid {process.pid}){process.reason}", file=sys.stderr)
    for holder in ended.holders:
        print(f"gracefulexitcmd: holds the output: {holder.command} (pid {holder.pid})", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gracefulexitcmd",
        description="Run a command, and end all its processes: they get SIGTERM, time to clean up, and SIGKILL.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--grace",
        type=_seconds,
        default=GRACE,
        metavar="TIME",
        help="time between SIGTERM and SIGKILL, such as 5, 500ms or 1m30s (default: 30s)",
    )
    parser.add_argument("--timeout", type=_timeout, metavar="TIME", help="stop the command after this time")
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="-- COMMAND...", help="the command and its arguments"
    )
    return parser


def _seconds(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _timeout(text: str) -> float:
    if (timeout := _seconds(text)) > 0:
        return timeout
    raise argparse.ArgumentTypeError("the command would end before it starts: leave the option out for no limit")


if __name__ == "__main__":
    if None in (sys.stdin, sys.stdout, sys.stderr):  # stderr was closed when Python started
        from gracefulexitcmd.descriptors import fill_closed

        fill_closed()
    sys.exit(exit_code(main()))
