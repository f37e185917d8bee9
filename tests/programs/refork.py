"""Re-forks every 10 ms and ignores SIGTERM; the first process ends at SIGTERM."""

import os, signal, sys, time

if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", file=sys.stderr, flush=True)
    while True:
        time.sleep(0.01)
        if os.fork():
            os._exit(0)
while True:
    signal.pause()
