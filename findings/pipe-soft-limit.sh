#!/usr/bin/env bash
# Guess: too many pipes of one user cause an error, or have no effect.
# Truth: from the 1025th pipe on (64 MiB in total) every new pipe of this user holds 8 KiB instead of 64 KiB, silently,
#        and no pipe of this user may be enlarged. The limit counts the pipes of all processes of the user.
# Versions: Linux 6.18, fs.pipe-user-pages-soft at its default of 16384; util-linux for setpriv. Needs root.
# Matters: a runner with three pipes a step gets small pipes if other servers run as the same user; a program that relies
#          on 64 KiB blocks. Root with CAP_SYS_RESOURCE never sees it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ "$(id -u)" = 0 ] || { echo "needs root, to become a user without privileges"; exit 2; }
echo "Linux $(uname -r), $(setpriv --version), pipe-user-pages-soft $(cat /proc/sys/fs/pipe-user-pages-soft)"
cat >"$work/pipes.py" <<'PYTHON'
import fcntl, os, resource

resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
pipes = [os.pipe() for _ in range(1030)]
sizes = [fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ) for _, writer in pipes]
print(f"pipe 1: {sizes[0]} bytes, pipe 1024: {sizes[1023]} bytes, pipe 1025: {sizes[1024]} bytes")
try:
    fcntl.fcntl(pipes[-1][1], fcntl.F_SETPIPE_SZ, 65536)
    print("the last one was enlarged")
except PermissionError as error:
    print(f"enlarge the last one to 65536: {error.strerror}")
PYTHON
chmod 755 "$work"
got=$(setpriv --reuid=54321 --regid=54321 --clear-groups /usr/bin/python3 - <"$work/pipes.py")
echo "$got"
[ "$got" = "pipe 1: 65536 bytes, pipe 1024: 65536 bytes, pipe 1025: 8192 bytes
enlarge the last one to 65536: Operation not permitted" ] || { echo "changed: other sizes"; exit 1; }
