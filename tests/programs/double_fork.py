"""Leaves an orphaned grandchild, which ignores SIGTERM, in its process group; writes `ready`, then waits."""

import os, signal, sys

signal.signal(signal.SIGTERM, signal.SIG_IGN)
reader, writer = os.pipe()
if (child := os.fork()) == 0:
    if (grandchild := os.fork()) == 0:
        os.write(writer, b".")
        while True:
            signal.pause()
    os._exit(0)
os.waitpid(child, 0)
os.read(reader, 1)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
print("ready", file=sys.stderr, flush=True)
while True:
    signal.pause()
