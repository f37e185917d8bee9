#!/usr/bin/env bash
# Guess: waiting for a child raises ChildProcessError if other code of the program has already reaped it.
# Truth: subprocess reports 0, success, even for a killed child; asyncio reports 255 and logs one warning.
# Versions: Python 3.11 to 3.13 (3.11.2 and newer were tried), Linux 6.18.
# Matters: a program that reaps orphans with waitpid(-1), as a subreaper or PID 1 often does, turns failures of the
#          children of its libraries into successes. Reap only processes that no other code waits for.
set -euo pipefail
python3 --version
got=$(python3 - 2>/dev/null <<'PYTHON'
import os, subprocess

def reap():
    return os.waitstatus_to_exitcode(os.waitpid(-1, 0)[1])

child = subprocess.Popen(["sh", "-c", "exit 7"])
print(f"exit 7: the reaper saw {reap()}, Popen.wait says {child.wait()}")
child = subprocess.Popen(["sh", "-c", "kill -KILL $$"])
print(f"SIGKILL: the reaper saw {reap()}, Popen.wait says {child.wait()}")
PYTHON
)
# asyncio's watcher may win the race for the status, so the reaper tries until it wins once.
got="$got
$(python3 - 2>/dev/null <<'PYTHON'
import asyncio, os, threading

async def attempt():
    stolen = []

    def thief():
        while not stolen and not done:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid:
                stolen.append(status)

    done = False
    child = await asyncio.create_subprocess_exec("sh", "-c", "sleep 0.1; exit 7")
    thread = threading.Thread(target=thief)
    thread.start()
    status = await child.wait()
    done = True
    thread.join()
    return status if stolen else None

async def main():
    for _ in range(50):
        if (status := await attempt()) is not None:
            print(f"exit 7: asyncio's wait says {status} where the reaper was first")
            return

asyncio.run(main())
PYTHON
)"
echo "$got"
[ "$got" = "exit 7: the reaper saw 7, Popen.wait says 0
SIGKILL: the reaper saw -9, Popen.wait says 0
exit 7: asyncio's wait says 255 where the reaper was first" ] || { echo "changed: the loss is reported"; exit 1; }
