"""All processes of a container have ended at the end of its block; also with `contain=True`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from gracefulexitcmd import PIPE, AsyncCmd, Cmd, Container, Termination, contain

if TYPE_CHECKING:
    from collections.abc import Callable

if sys.platform != "linux":
    pytest.skip("only Linux has subreapers", allow_module_level=True)

PROGRAM = """
import asyncio, gracefulexitcmd as g, os, sys
command = getattr(g, sys.argv[1])(["sh", "-c", sys.argv[2]], contain=True, stdout=g.PIPE, grace=float(sys.argv[3]))
ended = command.run()
ended = asyncio.run(ended) if asyncio.iscoroutine(ended) else ended
print(ended.cause, ended.returncode, ended.stdout.decode().split(), ended.holders)
print([signal.name for signal in ended.signals], [one.ended_by for one in ended.census])
try:
    os.waitid(os.P_ALL, 0, os.WEXITED)
except ChildProcessError:
    print("no child")
"""

FORMS = ("Cmd", "AsyncCmd")


def report(form: str, script: str, grace: float = 20) -> list[str]:
    """Run a program that contains a shell script; return the lines of its report."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, form, script, str(grace)], capture_output=True, text=True, timeout=50
    )
    assert ended.stderr == ""
    return ended.stdout.splitlines()


def test_command_in_closed_container_is_refused() -> None:
    """Nothing would end the processes that it leaves."""
    with contain() as box:
        """The command that belongs here follows the block."""
    with pytest.raises(RuntimeError, match="the container is closed: start the command inside the block"):
        Cmd(["true"], container=box).run()


@pytest.mark.parametrize("form", FORMS)
def test_contained_command_leaves_no_process(form: str) -> None:
    """A process without its parents, group, session and environment ends too; the status is the command's own."""
    assert report(form, "sleep 1000 & (setsid env -i sleep 1001 &) ; echo left; exit 3") == [
        "exited 3 ['left'] ()",
        "['SIGTERM', 'SIGCONT'] ['SIGTERM', 'SIGTERM']",
        "no child",
    ]


@pytest.mark.parametrize("form", FORMS)
def test_contained_background_process_is_killed_after_grace(form: str) -> None:
    script = "(setsid sh -c 'trap \"\" TERM; echo ready; exec sleep 1000' &) | { read -r line; echo $line; }"
    assert report(form, script, grace=0.2) == [
        "exited 0 ['ready'] ()",
        "['SIGTERM', 'SIGCONT', 'SIGKILL'] ['SIGKILL']",
        "no child",
    ]


@pytest.mark.parametrize("form", FORMS)
def test_contained_command_without_orphans_gets_no_signal(form: str) -> None:
    assert report(form, "echo done; exit 3") == ["exited 3 ['done'] ()", "[] []", "no child"]


def test_contained_command_has_no_other_container() -> None:
    with contain() as box, pytest.raises(ValueError, match="contain and container cannot both be given"):
        Cmd(["true"], contain=True, container=box)


async def test_async_contain_never_blocks_the_loop() -> None:
    """The remaining processes use the whole grace period, and the loop goes on meanwhile."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    script = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    async with contain(grace=0.3) as box:
        command = AsyncCmd(["sh", "-c", script], stdout=PIPE, container=box)
        await command.start()
        assert await command.stdout.readline() == b"ready\n"
        before = ticks
    ticking.cancel()
    assert ticks > before + 5
    assert box.exit.forced
    assert "SIGKILL" in {process.ended_by for process in box.exit.census}


async def test_async_contain_holds_many_commands() -> None:
    """Each shell waits for the exec of its child, which has the shell's arguments until then."""
    script = "sleep 1000 & until [ \"$(tr '\\0' ' ' </proc/$!/cmdline)\" = 'sleep 1000 ' ]; do :; done"
    async with contain(grace=5) as box, asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(AsyncCmd(["sh", "-c", script], container=box).run(check=True))
    assert [process.program for process in box.exit.census] == ["sleep"] * 5


async def test_blocking_contain_in_loop_is_refused() -> None:
    with pytest.warns(RuntimeWarning, match="write async with"), contain():
        pass


def test_contain_reports_no_ended_process() -> None:
    with contain() as box:
        Cmd(["true"], container=box).run()
    assert (box.exit.census, box.exit.forced) == ((), False)


OWN_CHILD = """
import os, subprocess, sys
from gracefulexitcmd import contain
with contain(grace=20) as box:
    pipe = subprocess.PIPE
    own = subprocess.Popen(["cat"], stdin=pipe, stdout=pipe, start_new_session=sys.argv[1] == "session")
    own.stdin.write(b"line\\n")
    own.stdin.flush()
    own.stdout.readline()  # else it may be amid execve(2), when nothing tells its arguments
print([process.program for process in box.exit.census], own.poll())
own.kill()
"""


@pytest.mark.parametrize(
    ("where", "ended"), [("session", "['cat'] 0"), ("group", "[] None")], ids=["own session", "own group"]
)
def test_popen_in_its_own_session_ends_with_contain(where: str, ended: str) -> None:
    """It looks like an orphan, so its status is taken; a process in the program's own group is spared."""
    report = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OWN_CHILD, where], capture_output=True, text=True, timeout=50
    )
    assert (report.stdout, report.stderr) == (f"{ended}\n", "")


def test_container_is_made_by_contain_alone() -> None:
    """Made otherwise it would have no subreaper and no end."""
    with pytest.raises(TypeError, match=r"made by contain\(\): write `with contain\(\) as container`"):
        Container()


def test_container_shows_only_its_exit() -> None:
    with contain() as container:
        assert [name for name in dir(container) if not name.startswith("_")] == ["exit"]


def test_termination_empties_container_within_its_block() -> None:
    """The block goes on, and its own end finds no process."""
    with contain(grace=10) as container:
        Cmd(["sh", "-c", "sleep 1000 &"], container=container).run()
        ended = Termination(container, grace=10).run()
    assert [process.ended_by for process in ended.census] == ["SIGTERM"]
    assert repr(ended).startswith("<Exit of a container: cancelled after ")
    assert container.exit.census == ()


def test_open_container_reports_no_ended_process() -> None:
    """Within the block, and after one in which nothing was left."""
    with contain() as box:
        assert repr(box.exit) == "<Exit of a container: no process was ended>"
    assert box.exit.reason == "no process was ended"


@pytest.mark.parametrize("make", [partial(Cmd, ["true"]), partial(AsyncCmd, ["true"]), partial(Termination, grace=1)])
def test_other_object_is_refused_as_container(make: Callable[..., object]) -> None:
    """Also the block itself, which `with` turns into a container."""
    for other in (3, contain()):
        with pytest.raises(TypeError, match=r"give the container that `with contain\(\) as container` returns"):
            make(container=other)
