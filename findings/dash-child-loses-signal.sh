#!/usr/bin/env bash
# Guess: SIGTERM to a process group ends each member that does not handle it, such as `sleep`, whenever it comes.
# Truth: A child of dash has the handler of its parent's trap from its fork until dash resets it. A signal in that moment
#        sets a flag that nothing reads, and `sleep` then runs its full time: some 20 of 400 when the signal comes within a
#        millisecond of the fork. No child of bash was lost.
# Versions: dash 0.5.12, bash 5.2.15, Linux 6.18.
# Matters: A script that waits for such a child before its trap runs would use up the whole grace period. A stop therefore
#          signals a process again that had not executed its program at the first signal.
set -euo pipefail
dpkg-query --show --showformat='${Package} ${Version}\n' bash dash
got=$(python3 - <<'PYTHON'
import os, random, signal, subprocess, time

def lives(group: int) -> bool:
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                state, _parent, of = file.read().rpartition(")")[2].split()[:3]
        except OSError:  # it has ended meanwhile
            continue
        if int(of) == group and state != "Z":
            return True
    return False

for shell in ("bash", "dash"):
    lost = 0
    for _ in range(400):
        command = [shell, "-c", "trap 'exit 0' TERM; echo; sleep 2 & wait"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) as started:
            started.stdout.readline()
            time.sleep(random.random() / 1000)
            os.killpg(started.pid, signal.SIGTERM)
            started.wait()
        time.sleep(0.01)
        if lives(started.pid):
            lost += 1
            os.killpg(started.pid, signal.SIGKILL)
    print(f"{shell}: {'some children were' if lost else 'no child was'} left")
PYTHON
)
echo "$got"
[ "$got" = "bash: no child was left
dash: some children were left" ] || { echo "changed: other shells lose a signal"; exit 1; }
