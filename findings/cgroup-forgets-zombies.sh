#!/usr/bin/env bash
# Guess: a control group lists a zombie until it is reaped, counts as populated, and cannot be removed before.
# Truth: a zombie is not listed, the group counts as empty, and rmdir(2) works. Afterwards /proc/PID/cgroup of the zombie
#        names "NAME (deleted)".
# Versions: Linux 6.18, control groups of version 2. Needs root, or a delegated group.
# Matters: "the group is empty" does not mean "all are reaped". A program that reaps orphans by their group finds none. A
#          program that finds a zombie's job by its group must ignore "(deleted)".
set -euo pipefail
root=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
own=$root$(sed -n 's/^0:://p' /proc/self/cgroup)
group=${own%/}/finding-$$
mkdir "$group" 2>/dev/null || { echo "needs a control group of version 2 that can be changed"; exit 2; }
trap 'rmdir "$group" 2>/dev/null || true' EXIT
echo "Linux $(uname -r), $(python3 --version)"
got=$(python3 - "$group" <<'PYTHON'
import os, sys

group = sys.argv[1]

def read(path):
    with open(path) as file:
        return file.read()

def look(moment):
    listed = str(pid) in read(f"{group}/cgroup.procs").split()
    populated = "populated 1" in read(f"{group}/cgroup.events")
    print(f"{moment}: listed {listed}, populated {populated}")

reader, writer = os.pipe()
pid = os.fork()
if pid == 0:
    with open(f"{group}/cgroup.procs", "w") as file:
        file.write("0")
    os.close(writer)
    os.read(reader, 1)
    os._exit(0)
os.close(reader)
while str(pid) not in read(f"{group}/cgroup.procs").split():
    pass
look("alive")
os.close(writer)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
look("zombie")
os.rmdir(group)
print("removed; the zombie's group is deleted:", read(f"/proc/{pid}/cgroup").rstrip().endswith("(deleted)"))
os.waitpid(pid, 0)
PYTHON
)
echo "$got"
[ "$got" = "alive: listed True, populated True
zombie: listed False, populated False
removed; the zombie's group is deleted: True" ] || { echo "changed: zombies count"; exit 1; }
