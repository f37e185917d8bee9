#!/usr/bin/env bash
# Guess: signal.getsignal returns the handler, and signal.signal the one before; neither looks at it.
# Truth: both first take it for a number of the enum signal.Handlers, and the error of that attempt, which is caught, has
#        the repr of the handler in it. A slow repr is called each time.
# Versions: Python 3.11.7 and 3.12.1 (CPython), each run as python3; 3.13.0 leaves the handler alone.
# Matters: asyncio.Runner's handler of SIGINT is a partial whose repr shows the task, its coroutine and their source lines.
#          A program that sets aside handlers around each start of a process pays that each time.
set -euo pipefail
python3 --version
got=$(python3 - <<'PYTHON'
import signal

class Handler:
    asked = 0

    def __call__(self, number: int, frame: object) -> None:
        """Do nothing."""

    def __repr__(self) -> str:
        Handler.asked += 1
        return "a handler"

signal.signal(signal.SIGUSR1, Handler())
for name, call in (
    ("getsignal", lambda: signal.getsignal(signal.SIGUSR1)),
    ("signal", lambda: signal.signal(signal.SIGUSR1, signal.SIG_DFL)),
):
    Handler.asked = 0
    call()
    print(f"{name} {'formats the handler' if Handler.asked else 'leaves the handler alone'}")
PYTHON
)
echo "$got"
[ "$got" = "getsignal formats the handler
signal formats the handler" ] || { echo "changed: the handler is left alone"; exit 1; }
