#!/usr/bin/env bash
# Guess: splice(2), sendfile(2) and copy_file_range(2) append if the target was opened with O_APPEND, like write(2).
# Truth: all three refuse, with two different errors (EINVAL, EBADF). Into a pipe with O_APPEND splice works.
# Versions: Linux 6.18, Python 3.10 or newer.
# Matters: several programs can write to a log that is opened with O_APPEND. To move bytes into it without a copy needs a
#          descriptor without O_APPEND and a single writer, or a fallback for both errors.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Linux $(uname -r), $(python3 --version)"
got=$(python3 - "$work" <<'PYTHON'
import errno, os, sys

def tried(name, call):
    try:
        print(f"{name}: {call()} bytes")
    except OSError as error:
        print(f"{name}: {errno.errorcode[error.errno]}")

work = sys.argv[1]
with open(f"{work}/source", "wb") as file:
    file.write(b"text")
source = os.open(f"{work}/source", os.O_RDONLY)
log = os.open(f"{work}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
reader, writer = os.pipe()
os.write(writer, b"text")
_, other = os.pipe()
appending = os.open(f"/proc/self/fd/{other}", os.O_WRONLY | os.O_APPEND)
tried("write", lambda: os.write(log, b"text"))
tried("sendfile", lambda: os.sendfile(log, source, 0, 4))
tried("copy_file_range", lambda: os.copy_file_range(source, log, 4))
tried("splice", lambda: os.splice(reader, log, 4))
tried("splice into a pipe", lambda: os.splice(reader, appending, 4))
PYTHON
)
echo "$got"
[ "$got" = "write: 4 bytes
sendfile: EINVAL
copy_file_range: EBADF
splice: EINVAL
splice into a pipe: 4 bytes" ] || { echo "changed: appending is allowed"; exit 1; }
