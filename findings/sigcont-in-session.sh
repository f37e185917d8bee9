#!/usr/bin/env bash
# Guess: a user may not send any signal to another user's process (EPERM).
# Truth: SIGCONT is allowed to any process of the same session, kill(2); from another session it fails with EPERM, too.
# Versions: Linux 6.18, Python 3. Needs root, to become two users.
# Matters: "SIGTERM and SIGCONT were sent to 3 processes" may be true of SIGCONT only: kill(2) succeeds for a program
#          that has changed its user although SIGTERM does not reach it. Look at the result of each signal.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "needs root, to become two users"; exit 2; }
echo "Linux $(uname -r), $(python3 --version)"
got=$(python3 - <<'PYTHON'
import os, signal, sys

def forked(user, work):
    pid = os.fork()
    if pid == 0:
        os.setgid(user)
        os.setuid(user)
        work()
        sys.stdout.flush()
        os._exit(0)
    return pid

def sending(target):
    def send(number):
        try:
            os.kill(target, number)
        except PermissionError:
            return "not permitted"
        return "sent"

    def work():
        for number in (signal.SIGTERM, signal.SIGCONT):
            print(f"{number.name} in the same session: {send(number)}")
        os.setsid()
        print(f"SIGCONT from another session: {send(signal.SIGCONT)}")

    return work

reader, writer = os.pipe()
target = forked(54321, lambda: (os.write(writer, b"x"), signal.pause()))
os.read(reader, 1)
os.waitpid(forked(54322, sending(target)), 0)
os.kill(target, signal.SIGKILL)
os.waitpid(target, 0)
PYTHON
)
echo "$got"
[ "$got" = "SIGTERM in the same session: not permitted
SIGCONT in the same session: sent
SIGCONT from another session: not permitted" ] || { echo "changed: another rule"; exit 1; }
