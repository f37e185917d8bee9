#!/usr/bin/env bash
# Guess: a process in state Z has ended and waits only to be reaped.
# Truth: it may be running. If only the main thread has ended, `ps` shows Z and <defunct>, cmdline is empty, environ and fd
#        are unreadable, and the other threads go on. waitpid returns nothing; a pidfd is not readable; only task/ shows them.
# Versions: Linux 6.18, any program that ends its first thread with pthread_exit(3).
# Matters: a scan for the processes of a job that skips zombies (psutil's STATUS_ZOMBIE, too) skips one that still writes.
set -euo pipefail
echo "Linux $(uname -r), $(python3 --version)"
got=$(python3 - <<'PYTHON'
import ctypes, os, select, signal, threading, time

SYS_EXIT = {"x86_64": 60, "aarch64": 93}[os.uname().machine]
reader, writer = os.pipe()

def work():
    while True:
        os.write(writer, b"x")
        time.sleep(0.05)

pid = os.fork()
if pid == 0:
    threading.Thread(target=work).start()
    ctypes.CDLL(None).syscall(SYS_EXIT, 0)
handle = os.pidfd_open(pid)
poller = select.poll()
poller.register(handle, select.POLLIN)
state = ""
while state != "Z":
    with open(f"/proc/{pid}/stat") as file:
        state = file.read().rpartition(")")[2].split()[0]
with open(f"/proc/{pid}/cmdline") as file:
    command = file.read()
print(f"state {state}, cmdline {command!r}, threads {len(os.listdir(f'/proc/{pid}/task'))}")
print(f"waitpid {os.waitpid(pid, os.WNOHANG)[0]}, pidfd readable {bool(poller.poll(0))}")
os.set_blocking(reader, False)
try:
    while os.read(reader, 65536):
        pass
except BlockingIOError:
    os.set_blocking(reader, True)
print(f"it still writes: {os.read(reader, 1)}")
os.kill(pid, signal.SIGKILL)
print(f"after SIGKILL: waitpid the same pid {os.waitpid(pid, 0)[0] == pid}, pidfd readable {bool(poller.poll(0))}")
PYTHON
)
echo "$got"
[ "$got" = "state Z, cmdline '', threads 2
waitpid 0, pidfd readable False
it still writes: b'x'
after SIGKILL: waitpid the same pid True, pidfd readable True" ] || { echo "changed: a zombie is another thing"; exit 1; }
