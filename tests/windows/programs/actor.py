"""A process of a test: it writes `ready` or `child PID` to stderr, then behaves as its arguments say.

    heed FILE      at CTRL_BREAK append `cleaned PID` to the file, after some work, and exit with status 0
    ignore         go on at CTRL_BREAK
    default        end at CTRL_BREAK, like a program without a handler
    leave          exit at once

`own-group` starts it outside of its parent's console group. The arguments after `with` are those of a child, another
actor, which it starts first.
"""

import os
import signal
import subprocess
import sys
import time

NEW_GROUP = 0x200


def main(arguments):
    own, _, below = partition(arguments)
    child = None
    if below:
        flags = NEW_GROUP if "own-group" in partition(below)[0] else 0
        child = subprocess.Popen([sys.executable, __file__, *below], creationflags=flags)
    broken = []
    if "heed" in own:
        signal.signal(signal.SIGBREAK, lambda number, frame: broken.append(number))
    if "ignore" in own:
        signal.signal(signal.SIGBREAK, signal.SIG_IGN)
    if child is None:
        os.write(2, b"ready\n")
    else:
        os.write(2, b"child %d\n" % child.pid)
    if "leave" in own:
        os._exit(0)
    while not broken:
        time.sleep(0.01)
    time.sleep(0.2)
    with open(own[own.index("heed") + 1], "a") as file:
        file.write(f"cleaned {os.getpid()}\n")
    os._exit(0)


def partition(arguments):
    at = arguments.index("with") if "with" in arguments else len(arguments)
    return arguments[:at], None, arguments[at + 1 :]


main(sys.argv[1:])
