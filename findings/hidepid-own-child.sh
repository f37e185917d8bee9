#!/usr/bin/env bash
# Guess: /proc mounted with hidepid=invisible hides the processes of other users; one's own children are always listed.
# Truth: an own child that has made itself not dumpable, as programs with secrets do, vanishes from the listing too.
#        The parent's `task/*/children` still names it, and pidfd_open(2) works.
# Versions: Linux 6.18, util-linux 2.38.1. Needs root, for a mount of its own.
# Matters: a scan of /proc for the orphans of a step misses such a daemon, although the runner may signal it.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "needs root, for a mount namespace"; exit 2; }
echo "Linux $(uname -r), $(unshare --version)"
program=$(cat <<'PYTHON'
import ctypes, os, signal

PR_SET_DUMPABLE = 4

def child(dumpable):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, dumpable, 0, 0, 0)
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
    return pid

for name, dumpable in ("ordinary child", 1), ("child that is not dumpable", 0):
    pid = child(dumpable)
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        named = str(pid) in file.read().split()
    listed = str(pid) in os.listdir("/proc")
    handle = os.pidfd_open(pid)
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.waitpid(pid, 0)
    print(f"{name}: listed in /proc {listed}, named by children {named}, pidfd works")
PYTHON
)
got=$(PROGRAM=$program unshare --mount --pid --fork sh -c 'mount -t proc -o hidepid=invisible proc /proc &&
    exec setpriv --reuid=54321 --regid=54321 --clear-groups /usr/bin/python3 -c "$PROGRAM"')
echo "$got"
[ "$got" = "ordinary child: listed in /proc True, named by children True, pidfd works
child that is not dumpable: listed in /proc False, named by children True, pidfd works" ] ||
    { echo "changed: another view of own children"; exit 1; }
