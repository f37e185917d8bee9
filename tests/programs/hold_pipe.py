"""Leaves a child that holds stdout open, writes the child's process ID to stderr, and exits: `hold_pipe.py in|out`.

With `in` it stays in the process group, with `out` it has its own session. It writes "late" when it gets SIGUSR1.
"""

import os, signal, sys

reader, writer = os.pipe()
holder = os.fork()
if holder == 0:
    if sys.argv[1] == "out":
        os.setsid()
    signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"late"))
    os.write(writer, b".")
    while True:
        signal.pause()
os.read(reader, 1)
os.write(1, b"x" * 60_000 + b"end")
print(holder, file=sys.stderr, flush=True)
