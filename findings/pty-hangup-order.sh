#!/usr/bin/env bash
# Guess: when a terminal closes, the session leader and the foreground job get SIGHUP at the same moment.
# Truth: only the session leader gets it. The foreground job gets SIGHUP when that leader ends; a background job never does.
# Versions: Linux 6.18 (pty); any Python 3.
# Matters: a shell that handles or ignores SIGHUP keeps the signal from the step runner in its foreground; a program
#          in the background of a script gets no signal when its terminal closes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Linux $(uname -r), $(python3 --version)"
got=$(timeout 30 python3 - "$work/log" <<'PYTHON'
import os, pty, signal, sys, time

log = sys.argv[1]

def note(text):
    with open(log, "a") as file:
        file.write(text + "\n")

def listen(name):
    for number in (signal.SIGHUP, signal.SIGCONT):
        signal.signal(number, lambda got, _: note(f"{name} {signal.Signals(got).name}"))

def wait(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)

def job(name, ready, foreground):
    if os.fork():
        return
    os.setpgid(0, 0)
    listen(name)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    if foreground:
        os.tcsetpgrp(0, os.getpid())
    os.write(ready, b"x")
    wait(4)
    os._exit(0)

reader, writer = os.pipe()
pid, master = pty.fork()
if pid == 0:
    listen("leader")
    job("foreground", writer, True)
    job("background", writer, False)
    wait(2)
    note("leader ends")
    os._exit(0)
os.read(reader, 1), os.read(reader, 1)
note("terminal closes")
os.close(master)
os.waitpid(pid, 0)
wait(1)
print(open(log).read(), end="")
PYTHON
)
echo "$got"
[ "$got" = "terminal closes
leader SIGHUP
leader SIGCONT
leader ends
foreground SIGHUP
foreground SIGCONT" ] || { echo "changed: another order or other receivers"; exit 1; }
