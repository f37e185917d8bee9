#!/usr/bin/env bash
# Guess: `echo text > /dev/stderr` writes to the open stderr, like `>&2`.
# Truth: it reopens that file. A log file is truncated, although the runner had opened it to append. A socket cannot be
#        opened (ENXIO), and neither can a pipe of another user (EACCES, after setpriv, su or sudo).
# Versions: Linux 6.18, dash 0.5.12, util-linux 2.38.1. Needs root, for the other user.
# Matters: the stdout that a runner gives to a step decides whether harmless scripts work: a pipe of the same user does.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ "$(id -u)" = 0 ] || { echo "needs root, to become another user"; exit 2; }
echo "Linux $(uname -r), dash $(dpkg-query -W -f '${Version}' dash), $(setpriv --version)"
printf 'one\ntwo\n' >"$work/log"
sh -c 'echo three >&2; echo four >/dev/stderr; echo five >&2' 2>>"$work/log"
got="log file: $(tr '\n' ' ' <"$work/log")
$(python3 - <<'PYTHON'
import socket, subprocess

SCRIPT = ["sh", "-c", "echo text >/dev/stdout"]
OTHER = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
ours, theirs = socket.socketpair()

def tried(name, command, stdout):
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env={"LC_ALL": "C", "PATH": "/bin"})
    print(f"{name}: {done.stderr.split(': ')[-1].strip() or 'works'}")

tried("socket", SCRIPT, theirs)
tried("pipe", SCRIPT, subprocess.PIPE)
tried("pipe of another user", [*OTHER, *SCRIPT], subprocess.PIPE)
PYTHON
)"
echo "$got"
[ "$got" = "log file: four five 
socket: No such device or address
pipe: works
pipe of another user: Permission denied" ] || { echo "changed: /dev/stderr is another thing"; exit 1; }
