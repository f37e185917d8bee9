#!/usr/bin/env bash
# Guess: `uv run` below a runner forwards SIGINT once, or not at all if the process group has already got it.
# Truth: the program gets it from the group, and once more from uv 200 ms later (SIGTERM: 1 to 2 ms later). Only on
#        a terminal uv does not forward Ctrl-C.
# Versions: uv 0.13.9 (PyPI), Linux 6.18.
# Matters: many servers and test runners stop at once at a second Ctrl-C. Here one request to stop looks like two.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$work/lib" uv==0.13.9
"$work/lib/bin/uv" --version
cat >"$work/program.py" <<'PYTHON'
import signal, time

times = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: times.append(time.monotonic()))
print("ready", flush=True)
end = time.monotonic() + 60
while time.monotonic() < (times[0] + 1 if times else end):
    time.sleep(0.02)
print(len(times), "after 100 ms or more" if times[-1] - times[0] > 0.1 else "at once")
PYTHON
got=$(for sent in INT TERM; do
    python3 - "$work" "$sent" <<'PYTHON'
import os, signal, subprocess, sys

work, sent = sys.argv[1:]
command = [f"{work}/lib/bin/uv", "run", "--offline", "--no-project", f"{work}/program.py"]
process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, process_group=0)
process.stdout.readline()
os.killpg(process.pid, signal.Signals[f"SIG{sent}"])
print(f"one SIG{sent} to the group: the program gets {process.stdout.read().strip()}")
process.wait()
PYTHON
done)
echo "$got"
[ "$got" = "one SIGINT to the group: the program gets 2 after 100 ms or more
one SIGTERM to the group: the program gets 2 at once" ] || { echo "changed: signals are passed on in another way"; exit 1; }
