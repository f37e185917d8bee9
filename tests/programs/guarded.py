"""Does some work under `supervise`, and writes lines to stdout: `guarded.py WORK ARGUMENT...`; first `worker PID`."""

import os, signal, subprocess, sys
from gracefulexitcmd import supervise

WORK, *ARGUMENTS = sys.argv[1:]
GRACE = float(os.environ.get("GRACE", "1"))


def say(line):
    os.write(1, f"{line}\n".encode())


def exits(front_is_gone):
    """End at the end of stdin; return the status in the argument."""
    sys.stdin.read()
    return int(ARGUMENTS[0])


def receives(front_is_gone):
    """End with the number of the first signal received."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    say("ready")
    return signal.sigwait(signal.valid_signals() - {signal.SIGCHLD, signal.SIGCONT})


def watches(front_is_gone):
    say("ready")
    say("gone" if os.read(front_is_gone, 1) == b"" else "readable")
    return 0


def starts(front_is_gone):
    """Start the command in the arguments, which writes `ready`, and wait."""
    subprocess.Popen(ARGUMENTS, start_new_session=True)
    while True:
        signal.pause()


def work(front_is_gone):
    say(f"worker {os.getpid()}")
    return globals()[WORK](front_is_gone)


def killed(number, left):
    census = () if left is None else left.census
    hurried = "" if left is None or left.hurried is None else f" {left.hurried}"
    say(f"killed {number} {sorted({each.ended_by for each in census})}{hurried}")


sys.exit(supervise(work, GRACE, killed))
