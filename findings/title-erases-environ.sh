#!/usr/bin/env bash
# Guess: /proc/PID/environ keeps the environment of the exec for the whole life of a process.
# Truth: a program that sets its title overwrites that memory. setproctitle clears all of it, even for a title of seven
#        letters; the program itself keeps its variables in a copy.
# Versions: setproctitle 1.3.8 (PyPI), Python 3.11, Linux 6.18.
# Matters: runners that find the processes of a job by a variable in their environment (Jenkins, GitHub's) miss every worker
#          that sets its title, as those of celery and gunicorn do if setproctitle is installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$work/lib" setproctitle==1.3.8
echo "Linux $(uname -r), $(python3 --version), setproctitle 1.3.8"
got=$(COOKIE=job-1 PYTHONPATH=$work/lib python3 - <<'PYTHON'
import os, setproctitle

def marked():
    with open("/proc/self/environ", "rb") as file:
        return b"COOKIE=job-1" in file.read()

print(f"before: in /proc {marked()}")
setproctitle.setproctitle("worker1")
print(f"after:  in /proc {marked()}, in os.environ {os.environ['COOKIE'] == 'job-1'}")
PYTHON
)
echo "$got"
[ "$got" = "before: in /proc True
after:  in /proc False, in os.environ True" ] || { echo "changed: the environment is kept"; exit 1; }
