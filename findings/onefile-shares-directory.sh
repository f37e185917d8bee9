#!/usr/bin/env bash
# Guess: a one-file program of PyInstaller is one process with its own directory; a child that it starts from
#        sys.executable unpacks itself again.
# Truth: it is two processes; the outer one forwards SIGTERM, so one SIGTERM to the group arrives twice. A child from
#        sys.executable uses its parent's directory, which is removed when the parent ends, while the child still runs.
# Versions: PyInstaller 6.22.3 (PyPI), Python 3.11, Linux 6.18. PYINSTALLER_RESET_ENVIRONMENT=1 gives the child its own.
# Matters: a command that leaves a server running removes the files of that server; "second SIGTERM kills" kills at the first.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$work/lib" pyinstaller==6.22.3
echo "Linux $(uname -r), $(python3 --version), PyInstaller 6.22.3"
cat >"$work/program.py" <<'PYTHON'
import os, signal, subprocess, sys, time

def stopped():
    times = []
    signal.signal(signal.SIGTERM, lambda *_: times.append(time.monotonic()))
    print("ready", flush=True)
    while not times or time.monotonic() < times[0] + 1:
        time.sleep(0.02)
    print(f"one SIGTERM to the group arrives {len(times)} times")

def server():
    os.write(int(sys.argv[4]), b"x")
    sys.stdin.read()
    print(f"parent {sys.argv[2]}: directory shared {sys.argv[3] == sys._MEIPASS}, still there {os.path.exists(sys._MEIPASS)}")

def command():
    environment = os.environ | ({"PYINSTALLER_RESET_ENVIRONMENT": "1"} if sys.argv[2] == "resets" else {})
    ready, tell = os.pipe()
    server = [sys.executable, "server", sys.argv[2], sys._MEIPASS, str(tell)]
    subprocess.Popen(server, env=environment, pass_fds=[tell])
    os.read(ready, 1)

{"stopped": stopped, "server": server, "command": command}[sys.argv[1]]()
PYTHON
(cd "$work" && PYTHONPATH=$work/lib python3 -m PyInstaller --log-level ERROR --onefile program.py)
cat >"$work/drive.py" <<'PYTHON'
import os, signal, subprocess, sys

program = sys.argv[1]
stopped = subprocess.Popen([program, "stopped"], stdout=subprocess.PIPE, text=True, process_group=0)
stopped.stdout.readline()
os.killpg(stopped.pid, signal.SIGTERM)
print(stopped.stdout.read(), end="")
stopped.wait()
for how in "inherits", "resets":
    command = subprocess.Popen([program, "command", how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    command.wait()
    print(command.communicate()[0], end="")
PYTHON
got=$(TMPDIR=$work timeout 50 python3 "$work/drive.py" "$work/dist/program")
echo "$got"
[ "$got" = "one SIGTERM to the group arrives 2 times
parent inherits: directory shared True, still there False
parent resets: directory shared False, still there True" ] || { echo "changed: another life of the directory"; exit 1; }
