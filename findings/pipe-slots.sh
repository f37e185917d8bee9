#!/usr/bin/env bash
# Guess: a pipe of 64 KiB is full when it holds 64 KiB, so it takes 31 writes of 2049 bytes.
# Truth: a pipe has 16 slots of one page. A write that does not fit into the rest of the last page takes a new slot, so
#        16 writes of 2049 bytes fill the pipe at 32 KiB.
# Versions: Linux 6.18 with pages of 4096 bytes.
# Matters: "its output is shorter than the pipe, so the step cannot block" is wrong by a factor of two.
set -euo pipefail
echo "Linux $(uname -r), $(python3 --version), page $(getconf PAGESIZE)"
got=$(python3 - <<'PYTHON'
import fcntl, os

for size in (1024, 2048, 2049, 3000, 4096):
    reader, writer = os.pipe2(os.O_NONBLOCK)
    taken = 0
    try:
        while True:
            taken += os.write(writer, bytes(size))
    except BlockingIOError:
        capacity = fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)
    print(f"writes of {size} bytes: full at {taken} of {capacity}")
PYTHON
)
echo "$got"
[ "$got" = "writes of 1024 bytes: full at 65536 of 65536
writes of 2048 bytes: full at 65536 of 65536
writes of 2049 bytes: full at 32784 of 65536
writes of 3000 bytes: full at 48000 of 65536
writes of 4096 bytes: full at 65536 of 65536" ] || { echo "changed: pipes are filled in another way"; exit 1; }
