#!/usr/bin/env bash
# Guess: handlers of signals that arrive while Python is busy run in the order of arrival.
# Truth: handlers run by signal number, each once: SIGTSTP (20) and, half a second later, SIGCONT (18) are handled as SIGCONT,
#        then SIGTSTP.
# Versions: Python 3.11 (CPython), Linux 6.18.
# Matters: a supervisor whose handlers suspend and continue its children leaves them suspended although SIGCONT came last.
set -euo pipefail
python3 --version
got=$(python3 - <<'PYTHON'
import os, signal, time

order = []
for number in (signal.SIGTSTP, signal.SIGCONT):
    signal.signal(number, lambda number, _: order.append(signal.Signals(number).name))
parent = os.getpid()
sender = os.fork()
if sender == 0:
    for number in (signal.SIGTSTP, signal.SIGCONT):
        time.sleep(0.5)
        os.kill(parent, number)
    os._exit(0)
while os.waitid(os.P_PID, sender, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
    sum(range(150_000_000))  # one long call into C, in which no handler runs
os.waitpid(sender, 0)
print("sent:    SIGTSTP SIGCONT")
print("handled:", *order)
PYTHON
)
echo "$got"
grep -q "^handled: SIGCONT SIGTSTP$" <<<"$got" || { echo "changed: the order of handlers"; exit 1; }
