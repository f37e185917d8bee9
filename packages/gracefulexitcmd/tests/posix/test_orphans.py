"""Orphans are attributed once and reaped. The program is separate: a process cannot stop being a subreaper."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

PRELUDE = """\
import json, os, subprocess, sys, time
from gracefulexitcmd import Cmd, ManualContainer, Termination
from gracefulexitcmd.posix import cgroup, membership, orphans, process_table, subreaper
from gracefulexitcmd.posix.container import reap_orphans
subreaper.become()
cgroup.make = lambda name: None

def leave(container, script):
    assert Cmd(["sh", "-c", script], container=container).run().returncode == 0

def asleep():
    children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    return [pid for pid in children if open(f"/proc/{pid}/comm").read() == "sleep\\n" and environ(pid)]

def environ(pid):  # empty while the process executes another program
    return open(f"/proc/{pid}/environ").read()

def leave_asleep(container, count=1):
    wanted = len(asleep()) + count
    leave(container, "setsid sleep 1000 & " * count)
    while len(asleep()) < wanted:
        time.sleep(0.001)

def ended_child():
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    return child
"""


def facts(program: str, *inside: str) -> Any:
    """Return the JSON that a program prints; `inside` is the command that runs it."""
    command = [*inside, sys.executable, "-c", PRELUDE + program]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout)


def test_orphan_environment_is_read_once() -> None:
    """The number of containers and of scans does not matter."""
    program = """
asked = []
read = process_table.environ
orphans.process_table.environ = lambda pid: asked.append(pid) or read(pid)
containers = [ManualContainer() for _ in range(4)]
for container in containers:
    leave_asleep(container, 2)
counts = [[len(container.members()) for container in containers] for _ in range(3)]
for container in containers:
    Termination(container, 5).run()
    container.close()
print(json.dumps([counts, len(asked) - len(set(asked))]))
"""
    assert facts(program) == [[[2] * 4] * 3, 0]


def test_orphan_of_another_container_requires_no_search() -> None:
    """A container without background processes is known to be empty, even with live orphans of another one."""
    program = """
first, second = ManualContainer(), ManualContainer()
leave_asleep(first)
leave(second, "true")
empty = [first.surely_empty(), second.surely_empty()]
Termination(first, 5).run()
print(json.dumps([*empty, first.surely_empty()]))
"""
    assert facts(program) == [False, True, True]


def test_container_is_not_empty_while_command_starts() -> None:
    """Another thread that asks at that moment gets no wrong answer, which would be remembered."""
    program = """
import threading
from gracefulexitcmd.posix import start
container, real, empty = ManualContainer(), start.start, []
asking = threading.Thread(target=lambda: empty.append(container.surely_empty()))

def slow(*arguments):
    asking.start()
    asking.join(0.2)
    return real(*arguments)

start.start = slow
leave(container, "setsid sleep 1000 & sleep 0.2")
asking.join()
empty.append(container.surely_empty())
Termination(container, 5).run()
print(json.dumps(empty))
"""
    assert facts(program) == [False, False]


def test_known_children_are_listed_once() -> None:
    """A list is slow with many jobs; only an unknown child requires a second one."""
    program = """
listed = []
read = process_table.children_text
orphans.process_table.children_text = lambda pid, task: (pid == os.getpid() and listed.append(task)) or read(pid, task)
container, other = ManualContainer(), ManualContainer()
leave_asleep(other)
assert len(other.members()) == 1
counts = []
for unknown in (), ("sleep", "1000"):
    child = subprocess.Popen(unknown) if unknown else None
    listed.clear()
    assert container.members() == []
    counts.append(len(listed))
    if child is not None:
        child.kill()
        child.wait()
Termination(other, 5).run()
print(json.dumps(counts))
"""
    once, twice = facts(program)
    assert once == 1
    assert twice > 1


def test_recent_list_of_children_serves_all_containers() -> None:
    """A stop reads no list of its own. A stop that needs a complete list reads one, and then misses no orphan."""
    program = """
listed = []
read = process_table.children_text
orphans.process_table.children_text = lambda pid, task: (pid == os.getpid() and listed.append(task)) or read(pid, task)
orphans.clock.now = lambda: 1000.0  # no time passes
containers = [ManualContainer() for _ in range(3)]
for container in containers:
    assert container.members() == []
leave_asleep(containers[0])
listed.clear()
recent = [len(container.members(quickly=True)) for container in containers]
shared = len(listed)
complete = [len(container.members()) for container in containers]
Termination(containers[0], 5).run()
print(json.dumps([recent, shared, complete]))
"""
    assert facts(program) == [[0, 0, 0], 0, [1, 0, 0]]


def test_container_seen_empty_requires_no_list() -> None:
    """It stays empty until a command starts in it."""
    program = """
listed = []
read = process_table.children_text
orphans.process_table.children_text = lambda pid, task: (pid == os.getpid() and listed.append(task)) or read(pid, task)
container = ManualContainer()
leave(container, "true")
assert container.members() == []
listed.clear()
empty = [container.surely_empty(), len(listed)]
leave_asleep(container)
empty.append(container.surely_empty())
Termination(container, 5).run()
print(json.dumps(empty))
"""
    assert facts(program) == [True, 0, False]


def test_unexplained_orphan_requires_no_scan_of_others() -> None:
    """With many jobs each would search all others. The orphan ends with the last of them."""
    program = """
asked = []
members = membership.members
membership.members = lambda evidence, *facts: asked.append(evidence.cookie) or members(evidence, *facts)
containers = [ManualContainer() for _ in range(3)]
leave(containers[0], "env -i setsid sleep 1000 >/dev/null &")
while process_table.comm(int(process_table.children_text(os.getpid(), os.getpid()))) != "sleep":
    time.sleep(0.001)
others = 0
for container in containers:
    asked.clear()
    assert container.members() == []
    others += len(asked) - asked.count(container.cookie)
for container in containers[1:]:
    container.close()
found = [containers[0].found_by(process) for process in containers[0].members()]
Termination(containers[0], 5).run()
print(json.dumps([others, found]))
"""
    assert facts(program) == [0, ["suspected"]]


def test_orphans_are_reaped_next_to_another_ended_child() -> None:
    """The kernel reports first the child that this program started and has not waited for. That child stays."""
    program = """
child = ended_child()
container = ManualContainer()
leave(container, "setsid sh -c 'sleep 0.1' &")
while process_table.children_text(os.getpid(), os.getpid()).split() != [b"%d" % child.pid]:
    reap_orphans()
print(json.dumps(child.wait()))
"""
    assert facts(program) == 0


def test_pid_of_an_ended_leader_may_lead_a_later_command() -> None:
    """The kernel may reuse it before the first container has noted the end: the later command is still no orphan."""
    program = """
first, second, known = ManualContainer(), ManualContainer(), orphans.Orphans()
known.opened(first)
known.opened(second)
known.command_started(4711, first)
known.command_started(4711, second)
known.command_ended(4711, first)
led = known.leads(4711)
known.command_ended(4711, second)
print(json.dumps([led, known.leads(4711)]))
"""
    assert facts(program) == [True, False]


def test_slow_looks_for_ended_orphans_are_rare_while_none_ends() -> None:
    """With thousands of orphans the kernel takes a millisecond for each look."""
    program = """
real, container = orphans._any_ended, ManualContainer()

def slow():
    until = time.thread_time() + 0.005
    while time.thread_time() < until:
        pass
    return real()

orphans._any_ended = slow
idle = reap_orphans()
child = ended_child()
print(json.dumps([idle, reap_orphans()]))
child.wait()
container.close()
"""
    assert facts(program) == [1.0, 0.1]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount /proc")
def test_hidden_orphan_is_ended() -> None:
    """With hidepid, /proc hides a process that is not dumpable even from its own user."""
    program = """
import ctypes, signal
container = ManualContainer()
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    if os.fork() == 0:
        os.setsid()
        ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE
        os.write(writer, b"ready")
        signal.pause()
    os._exit(0)
os.waitpid(child, 0)
os.read(reader, 5)
(pid,) = map(int, process_table.children_text(os.getpid(), os.getpid()).split())
shown = os.path.exists("/proc/%d" % pid)
ended = Termination(container, 10).run()
print(json.dumps([shown, [process.ended_by for process in ended.census]]))
"""
    reads_python = "--inh-caps=+dac_read_search --ambient-caps=+dac_read_search"  # it may be below /root
    user = f"setpriv --reuid 65534 --clear-groups {reads_python}"
    mount = f'mount -t proc -o hidepid=invisible,gid=65533 proc /proc && exec {user} "$@"'
    inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", mount, "sh"]
    assert facts(program, *inside) == [False, ["SIGTERM"]]


def test_unmarked_orphan_belongs_to_no_closed_container() -> None:
    """An orphan that remains after its container is closed is attributed to the containers that are still open."""
    program = """
first, second = ManualContainer(), ManualContainer()
leave(first, 'setsid env -i sleep 1000 & until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done')
before = [len(first.members()), len(second.members())]
first.close()
after = [process.pid for process in second.members()]
Termination(second, 5).run()
print(json.dumps([before, len(after)]))
"""
    assert facts(program) == [[0, 0], 1]
