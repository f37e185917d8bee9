"""A single command that leaves nothing behind: `contain=True`. Each runs in a program that becomes a subreaper."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gracefulexitcmd import Cmd, contain

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


def told(form: str, script: str, grace: float = 20) -> list[str]:
    """What is left of a shell script that was run to its end."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, form, script, str(grace)], capture_output=True, text=True, timeout=50
    )
    assert ended.stderr == ""
    return ended.stdout.splitlines()


@pytest.mark.parametrize("form", FORMS)
def test_contained_command_leaves_nothing_behind(form: str) -> None:
    """Also who has shed parents, group, session and environment ends; the status is the command's own."""
    assert told(form, "sleep 1000 & (setsid env -i sleep 1001 &) ; echo left; exit 3") == [
        "exited 3 ['left'] ()",
        "['SIGTERM', 'SIGCONT'] ['SIGTERM', 'SIGTERM']",
        "no child",
    ]


@pytest.mark.parametrize("form", FORMS)
def test_contained_background_process_is_killed_after_the_grace(form: str) -> None:
    script = "(setsid sh -c 'trap \"\" TERM; echo ready; exec sleep 1000' &) | { read -r line; echo $line; }"
    assert told(form, script, grace=0.2) == [
        "exited 0 ['ready'] ()",
        "['SIGTERM', 'SIGCONT', 'SIGKILL'] ['SIGKILL']",
        "no child",
    ]


@pytest.mark.parametrize("form", FORMS)
def test_contained_command_that_leaves_nothing_is_sent_nothing(form: str) -> None:
    assert told(form, "echo done; exit 3") == ["exited 3 ['done'] ()", "[] []", "no child"]


def test_contained_command_has_no_other_container() -> None:
    with contain() as box, pytest.raises(ValueError, match="contain and container cannot both be given"):
        Cmd(["true"], contain=True, container=box)
