"""Ignores SIGTERM and waits."""

import signal, sys

signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", file=sys.stderr, flush=True)
while True:
    signal.pause()
