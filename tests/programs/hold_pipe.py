"""Leaves a process that holds stdout, in the group or (argument "out") out of it, writes its number to stderr and exits.

The holder writes "late" when it gets SIGUSR1.
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
