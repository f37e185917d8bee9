#!/usr/bin/env bash
# Guess: A program that posix_spawn(3) starts ignores the signals that its parent ignores, as after a fork.
# Truth: It also ignores signals 32 and 33, and so does each program that it starts. Between fork and exec the child shares
#        its parent's memory, so no handler may run there; glibc keeps these two for itself and ignores them instead.
# Versions: glibc 2.36, Python 3.11.7, whose subprocess uses vfork(2) itself.
# Matters: A comparison of SigIgn in /proc/PID/status with that of another start must leave these two out. A library that uses
#          them sets its handlers when it needs them, so no program was seen to suffer.
set -euo pipefail
ldd --version | sed -n 1p
python3 --version
got=$(python3 - <<'PYTHON'
import os, subprocess

command = ["grep", "SigIgn", "/proc/self/status"]
by_subprocess = int(subprocess.check_output(command, restore_signals=False).split()[1], 16)
reader, writer = os.pipe()
os.waitpid(os.posix_spawn("/bin/grep", command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)]), 0)
by_posix_spawn = int(os.read(reader, 100).split()[1], 16)
print("ignored as well:", [bit + 1 for bit in range(64) if by_posix_spawn & ~by_subprocess & 1 << bit])
PYTHON
)
echo "$got"
[ "$got" = "ignored as well: [32, 33]" ] || { echo "changed: other signals are ignored"; exit 1; }
