#!/usr/bin/env bash
# Guess: `cgroup.kill` kills the processes that are in a group now; a process that clone3(2) starts there later, by
#        CLONE_INTO_CGROUP, lives as one does that is moved there.
# Truth: it is killed at once, before its first instruction, and clone3(2) succeeds. A process that is moved there lives,
#        and so do its children. The kernel notes how often the group of the *parent* was killed, and compares that with
#        the group of the child (cgroup_css_set_fork and cgroup_post_fork in kernel/cgroup/cgroup.c, since 6.14).
# Versions: Linux 6.18, control groups of version 2. Needs root, or a delegated group, on x86-64.
# Matters: a program in a group that was killed once, as by a restart, loses every process that it starts in a new group.
set -euo pipefail
root=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
own=$root$(sed -n 's/^0:://p' /proc/self/cgroup)
group=${own%/}/finding-$$
mkdir "$group" 2>/dev/null || { echo "needs a control group of version 2 that can be changed"; exit 2; }
trap 'rmdir "$group" 2>/dev/null || true' EXIT
echo "Linux $(uname -r), $(python3 --version)"
got=$(python3 - "$group" <<'PYTHON'
import ctypes, os, signal, sys

CLONE_INTO_CGROUP, SYS_CLONE3 = 0x200000000, 435
group = sys.argv[1]

def started_inside():
    """Return the status of a process that clone3(2) starts in the group; it exits with 0."""
    descriptor = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, its size, cgroup
    arguments = (ctypes.c_uint64 * 11)(CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, descriptor)
    pid = ctypes.CDLL(None).syscall(SYS_CLONE3, arguments, ctypes.sizeof(arguments))
    if pid == 0:
        os._exit(0)
    os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def moved_inside():
    """Return the status of a process that moves itself into the group, and of a child that it then has."""
    pid = os.fork()
    if pid == 0:
        with open(f"{group}/cgroup.procs", "w") as file:
            file.write("0")
        os._exit(os.WEXITSTATUS(os.system("exit 0")))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

print("started in a new group:", started_inside())
with open(f"{group}/cgroup.kill", "w") as file:
    file.write("1")
print("started in the killed group:", started_inside())
print("moved into the killed group:", moved_inside())
PYTHON
)
echo "$got"
[ "$got" = "started in a new group: 0
started in the killed group: -9
moved into the killed group: 0" ] || { echo "changed: a kill is forgotten"; exit 1; }
