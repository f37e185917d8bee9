"""Writes 10 MB at SIGTERM, then ends."""

import os, signal, sys


def write(*_):
    left = memoryview(b"0123456789" * 1_000_000)
    while left:
        left = left[os.write(1, left) :]
    os._exit(0)


signal.signal(signal.SIGTERM, write)
print("ready", file=sys.stderr, flush=True)
while True:
    signal.pause()
