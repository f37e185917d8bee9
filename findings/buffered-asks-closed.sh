#!/usr/bin/env bash
# Guess: io.BufferedReader talks to its raw stream once for each block: 1,000 lines of two bytes are one read.
# Truth: it reads once, but asks a raw stream that is written in Python whether it is `closed` at each line: 1,002 calls for
#        1,000 lines. A raw stream of the class io.FileIO is not asked.
# Versions: Python 3.11.7 (CPython).
# Matters: a stream with a wait of its own (a timeout, a cancel) below BufferedReader is up to half as fast by lines as the
#          pipe itself, although the buffer is full. Waiting outside of the raw stream costs nothing.
set -euo pipefail
python3 --version
got=$(python3 - <<'PYTHON'
import io, os

class Raw(io.RawIOBase):
    """A raw stream that counts what it is asked."""

    reads = questions = 0

    def __init__(self, descriptor: int) -> None:
        self.file = io.FileIO(descriptor)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        self.reads += 1
        return self.file.readinto(buffer)

    @property
    def closed(self) -> bool:
        self.questions += 1
        return super().closed

reading, writing = os.pipe()
os.write(writing, b"x\n" * 1000)
os.close(writing)
raw = Raw(reading)
lines = sum(1 for _ in io.BufferedReader(raw))
print(f"{lines} lines, {raw.reads} reads, the question is asked for", "each line" if raw.questions >= lines else "each block")
raw.file.close()
PYTHON
)
echo "$got"
[ "$got" = "1000 lines, 2 reads, the question is asked for each line" ] || { echo "changed: the questions"; exit 1; }
