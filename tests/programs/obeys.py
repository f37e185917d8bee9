"""Two processes, each of which ends at one signal and ignores the others: obeys.py LEADER CHILD [setsid].

LEADER and CHILD are INT, TERM, QUIT or none. With `setsid` the child has its own session.
"""

import os
import signal
import sys


def obey(name):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL if number.name == f"SIG{name}" else signal.SIG_IGN)


def wait():
    while True:
        signal.pause()


leader, child, *own_session = sys.argv[1:]
reader, writer = os.pipe()
if os.fork() == 0:
    if own_session:
        os.setsid()
    obey(child)
    os.write(writer, b"x")
    wait()
obey(leader)
os.read(reader, 1)
print("ready", file=sys.stderr, flush=True)
wait()
