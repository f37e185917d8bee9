#!/usr/bin/env bash
# Guess: a descriptor in flight to another process keeps nothing open; when the sender's copy is closed and the file
#        removed, the disk space is free.
# Truth: the message in the socket's queue holds the file: the disk stays full until the message is received or both ends close.
# Versions: Linux 6.18, Python 3.11. Needs root, for a small file system of its own.
# Matters: a supervisor that gets the descriptors of job logs, and reads its queue late, keeps the disk of removed jobs full.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "needs root, for a mount namespace"; exit 2; }
echo "Linux $(uname -r), $(python3 --version)"
folder=$(mktemp -d)
trap 'rmdir "$folder"' EXIT
program=$(cat <<'PYTHON'
import array, os, socket, sys

folder = sys.argv[1]
free = lambda: os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize // 1024
sender, receiver = socket.socketpair()
before = free()
with open(f"{folder}/log", "wb") as log:
    log.write(bytes(128 * 1024))
    log.flush()
    socket.send_fds(sender, [b"x"], [log.fileno()])
os.unlink(f"{folder}/log")
print(f"removed and closed: {before - free()} KiB are held")
_, received, _, _ = socket.recv_fds(receiver, 1, 1)
os.close(received[0])
print(f"received and closed: {before - free()} KiB are held")
PYTHON
)
got=$(PROGRAM=$program unshare --mount sh -c \
    'mount -t tmpfs -o size=200k tmpfs "$1" && exec python3 -c "$PROGRAM" "$1"' sh "$folder")
echo "$got"
[ "$got" = "removed and closed: 128 KiB are held
received and closed: 0 KiB are held" ] || { echo "changed: what a queued descriptor holds"; exit 1; }
