#!/usr/bin/env bash
# Guess: after settimeout(5), connect() to a Unix socket with a full queue waits for up to five seconds.
# Truth: it fails at once with EAGAIN, because a socket with a timeout is non-blocking and the kernel has no later event for
#        this; SO_SNDTIMEO, or no timeout, makes the kernel wait.
# Versions: Python 3.11, Linux 6.18.
# Matters: a client of a busy server reports "Resource temporarily unavailable" although it has a timeout.
set -euo pipefail
echo "Linux $(uname -r), $(python3 --version)"
got=$(python3 - <<'PYTHON'
import os, socket, struct, tempfile, time

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        first = socket.socket(socket.AF_UNIX)
        first.connect(path)  # fills the queue
        for name in ("settimeout", "SO_SNDTIMEO"):
            with socket.socket(socket.AF_UNIX) as client:
                if name == "settimeout":
                    client.settimeout(1.0)
                else:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 1, 0))
                start = time.monotonic()
                try:
                    client.connect(path)
                except OSError as error:
                    waited = "after a second" if time.monotonic() - start > 0.9 else "at once"
                    print(f"{name} of 1 s: {type(error).__name__} {waited}")
        first.close()
PYTHON
)
echo "$got"
[ "$got" = "settimeout of 1 s: BlockingIOError at once
SO_SNDTIMEO of 1 s: BlockingIOError after a second" ] || { echo "changed: how connect waits"; exit 1; }
