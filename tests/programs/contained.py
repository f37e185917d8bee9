"""Runs commands in containers, and reports to stdout as lines of JSON: `contained.py REAPER SCENARIO MARK SHAPE...`.

REAPER says what the program may use: `subreaper`, `cgroup`, `both`, or `plain` for neither. With `born` it may use both,
but moves no process into the control group.
"""

import json, os, signal, subprocess, sys
from gracefulexitcmd import Cmd, ManualContainer, Termination, contain
from gracefulexitcmd.container import opened
from gracefulexitcmd.posix import cgroup, subreaper

REAPER, SCENARIO, MARK, *SHAPES = sys.argv[1:]
GRACE = 0.3 if {"ignores_term", "reforks"} & set(SHAPES) else 10
PROGRAM = os.path.join(os.path.dirname(__file__), "shapes.py")


def started(container, mark=MARK, **env):
    """Start a command, and wait until its shapes are ready."""
    reader, writer = os.pipe()
    waits, go_on = os.pipe()
    argv = ["sh", "-c", 'read -r line && exec "$@"', "", sys.executable, "-I", "-S", PROGRAM, mark, "1", *SHAPES]
    command = Cmd(argv, grace=GRACE, stdin=waits, stdout=writer, env={**os.environ, **env}, container=container)
    command.start()
    if REAPER in ("cgroup", "both"):
        assert opened(container).confine()
    os.write(go_on, b"\n")
    for descriptor in (writer, waits, go_on):
        os.close(descriptor)
    assert os.read(reader, 100) == b"ready\n"
    return command


def report(**facts):
    print(json.dumps(facts), flush=True)


def census(ended):
    """Return how each process was found and ended, without the leader."""
    return sorted({(each.found, each.ended_by) for each in ended.census if each.found != "leader"})


def cancel():
    with contain(GRACE) as container:
        command = started(container)
        command.cancel()
        report(census=census(command.wait()))


def end():
    """End the command by itself, so that its shapes are left."""
    with contain(GRACE) as container:
        started(container, STATUS="0").wait()
        report(census=census(Termination(container, GRACE).run()))


def leave():
    """Leave the end of the shapes to `contain`."""
    with contain(GRACE) as container:
        started(container, STATUS="0").wait()
    report(zombie=zombie())


def error():
    try:
        with contain(GRACE) as container:
            command = started(container)
            raise LookupError
    except LookupError:
        command.wait()
        report(zombie=zombie())


def others():
    """Run other children of this program, which are not commands: one has ended, one has not."""
    ended, living = subprocess.Popen(["sh", "-c", "exit 7"]), subprocess.Popen(["sleep", "1000"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    with contain(GRACE) as container:
        started(container, STATUS="0").wait()
    lives = living.poll() is None
    living.kill()
    living.wait()
    report(status=ended.wait(), lives=lives)


def two():
    """Run two containers; a line on stdin ends the second one."""
    subreaper.become()
    first, second = ManualContainer(), ManualContainer()
    started(first, MARK + "-first", STATUS="0").wait()
    started(second, MARK + "-second", STATUS="0").wait()
    Termination(first, GRACE).run()
    report(ended="first")
    sys.stdin.readline()
    Termination(second, GRACE).run()
    report(ended="second")


SLOW = """\
import os, signal
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'asked'), os.read(0, 1), os._exit(0)))
os.write(1, b'ready')
while True:
    signal.pause()
"""


def late():
    """Leave an orphan that may belong to either container; end the second one after the signal to the first one."""
    subreaper.become()
    first, second = ManualContainer(), ManualContainer()
    waits, go_on = os.pipe()
    reader, writer = os.pipe()
    argv = [sys.executable, "-I", "-S", "-c", SLOW]
    command = Cmd(argv, grace=5, stdin=waits, stdout=writer, container=first)
    command.start()
    assert os.read(reader, 5) == b"ready"
    started(second, STATUS="0").wait()
    command.cancel()
    assert os.read(reader, 5) == b"asked"
    Termination(second, GRACE).run()
    second.close()
    os.write(go_on, b".")
    report(census=census(command.wait()))


def nested():
    """Kill the inner program, so that the outer one adopts its descendants."""
    with contain(GRACE) as container:
        reader, writer = os.pipe()
        inner = [sys.executable, __file__, REAPER, "wait", MARK, *SHAPES]
        command = Cmd(inner, grace=GRACE, stdout=writer, container=container)
        command.start()
        assert os.read(reader, 100)
        os.kill(command.pid, signal.SIGKILL)
        command.wait()


def wait():
    with contain(GRACE) as container:
        started(container)
        report(ready=True)
        signal.pause()


def alone():
    """Run a command without a container."""
    command = started(None)
    command.cancel()
    report(census=census(command.wait()))


def zombie():
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if ended is None else ended.si_pid


if REAPER in ("plain", "cgroup"):
    subreaper.become = lambda: False
if REAPER in ("plain", "subreaper"):
    cgroup.make = lambda name: None
globals()[SCENARIO]()
