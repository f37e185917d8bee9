"""Commands on Windows: the job, the break, the census.

"Proves Windows" in a docstring: Wine's job objects, pipes and processes are the real thing. "Stand-in": under Wine
the tests themselves deliver CTRL_BREAK, and only a run on Windows proves that its console does.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows, or Wine: make test-windows", allow_module_level=True)

from gracefulexitcmd import AsyncCmd, Cause, Cmd, Container, Exit, Roundup, contain
from gracefulexitcmd.windows.job import KILLED, JobObject
from gracefulexitcmd.windows.process import has_exited, open_leader

if TYPE_CHECKING:
    from collections.abc import Callable

    from gracefulexitcmd.cmd import BaseCmd

    Actors = Callable[..., tuple[BaseCmd, list[psutil.Process]]]
    Wait = Callable[[BaseCmd], Exit]
    Start = Callable[..., BaseCmd]

SOME = 10
"""Handles that may come and go with threads that are about to end, and commands of which each would leave one."""

LONG = 60.0
"""Seconds that are never waited for."""

CONTROL_C_EXIT = 0xC000013A
"""STATUS_CONTROL_C_EXIT, with which Windows ends a program that has no handler."""

PYTHON = sys.executable


def _python(program: str, *arguments: str) -> list[str]:
    return [PYTHON, "-c", program, *arguments]


@pytest.mark.parametrize("status", [0, 7, 259, CONTROL_C_EXIT], ids=str)
def test_exit_status_comes_through(start: Start, wait: Wait, status: int) -> None:
    """Proves Windows; 259 is what the system says of a process that has not ended."""
    program = f"import ctypes; ctypes.windll.kernel32.ExitProcess(ctypes.c_uint({status}))"
    ended = wait(start(_python(program)))
    assert (ended.cause, ended.returncode, ended.forced, ended.census) == (Cause.EXITED, status, False, ())


def test_output_and_input_pass_whole(start: Start, wait: Wait) -> None:
    """Proves Windows: more than any pipe has room for, in both directions at once."""
    content = bytes(range(256)) * 8192
    program = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()); sys.stderr.buffer.write(b'done')"
    ended = wait(start(_python(program), input=content, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    assert ended.stdout == content
    assert ended.stderr == b"done"


def test_program_that_is_not_there_cannot_be_started(start: Start) -> None:
    """Proves Windows."""
    with pytest.raises(FileNotFoundError):
        start(["no-such-program"])


def test_stop_signal_cannot_be_chosen() -> None:
    """Proves Windows."""
    import signal

    with pytest.raises(ValueError, match="stop cannot be chosen on Windows"):
        Cmd(["program"], stop_signal=signal.SIGINT)


@pytest.mark.usefixtures("delivered")
def test_group_gets_time_to_clean_up(actors: Actors, wait: Wait, tmp_path: Path) -> None:
    """Stand-in: the leader and its child are both told, and nobody is forced."""
    mark = tmp_path / "mark"
    command, (child,) = actors("heed", str(mark), "with", "heed", str(mark), grace=LONG)
    command.cancel()
    ended = wait(command)
    assert sorted(mark.read_text().split()[1::2]) == sorted([str(command.pid), str(child.pid)])
    assert (ended.cause, ended.returncode, ended.forced, ended.exit_status) == (Cause.CANCELLED, 0, False, 143)
    assert [(sent.name, sent.processes) for sent in ended.signals] == [("CTRL_BREAK", 2)]
    assert {(each.pid, each.found, each.ended_by) for each in ended.census} == {
        (command.pid, "leader", "CTRL_BREAK"),
        (child.pid, "job", "CTRL_BREAK"),
    }


@pytest.mark.usefixtures("delivered")
def test_program_without_a_handler_ends_at_the_break(actors: Actors, wait: Wait) -> None:
    """Stand-in."""
    command, _ = actors("default", grace=LONG)
    command.cancel()
    ended = wait(command)
    assert (ended.returncode, ended.forced) == (CONTROL_C_EXIT, False)


@pytest.mark.usefixtures("delivered")
def test_grace_lasts_until_the_job_is_empty(actors: Actors, wait: Wait, tmp_path: Path) -> None:
    """Stand-in for the break; that the job is waited for and not the leader proves Windows."""
    mark = tmp_path / "mark"
    command, (child,) = actors("default", "with", "heed", str(mark), grace=LONG)
    command.cancel()
    ended = wait(command)
    assert mark.read_text() == f"cleaned {child.pid}\n"
    assert (ended.returncode, ended.forced) == (CONTROL_C_EXIT, False)


@pytest.mark.usefixtures("delivered")
def test_grandchild_that_ignores_the_break_is_ended_by_force(actors: Actors, wait: Wait) -> None:
    """Stand-in for the break; TerminateJobObject and the census prove Windows."""
    command, (child,) = actors("default", "with", "ignore", grace=0.5)
    command.cancel()
    ended = wait(command)
    assert child.wait(10) in (KILLED, None)
    assert (ended.forced, ended.exit_status) == (True, 137)
    assert [sent.name for sent in ended.signals] == ["CTRL_BREAK", "TerminateJobObject"]
    forced = [each for each in ended.census if each.killed]
    assert [(each.pid, each.found, each.argv[0]) for each in forced] == [(child.pid, "job", PYTHON)]


@pytest.mark.usefixtures("delivered")
def test_descendant_in_another_console_group_is_ended_by_force(actors: Actors, wait: Wait, tmp_path: Path) -> None:
    """Stand-in: no break reaches another group, so it has the grace, and no more."""
    mark = tmp_path / "mark"
    command, (child,) = actors("default", "with", "heed", str(mark), "own-group", grace=0.5)
    command.cancel()
    ended = wait(command)
    assert not mark.exists()
    assert [each.pid for each in ended.census if each.killed] == [child.pid]


def test_nobody_is_waited_for_who_could_not_be_told(tmp_path: Path) -> None:
    """Proves Windows: a program without a console can send no break, and goes on at once to force."""
    program = tmp_path / "runner.py"
    program.write_text(
        "import sys\n"
        "from gracefulexitcmd import Cmd\n"
        "command = Cmd([sys.executable, '-c', 'import time; time.sleep(600)'], grace=600)\n"
        "command.start()\n"
        "command.cancel()\n"
        "ended = command.wait()\n"
        "sys.exit([sent.name for sent in ended.signals] != ['TerminateJobObject'] or not ended.forced)\n"
    )
    detached = subprocess.Popen([PYTHON, str(program)], creationflags=subprocess.DETACHED_PROCESS)
    assert detached.wait(30) == 0


def test_child_of_the_first_instruction_is_born_in_the_job(start: Start, wait: Wait) -> None:
    """Proves Windows: the leader does nothing before it starts somebody, and then waits for nobody."""
    program = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    with contain(grace=0) as container:
        command = start(_python(program), container=container)
        assert wait(command).cause is Cause.EXITED
        (left,) = [psutil.Process(pid) for pid in container.job.processes()]
    assert left.wait(10) in (KILLED, None)


def test_killed_runner_takes_everything_with_it(tmp_path: Path) -> None:
    """Proves Windows: the system closes the runner's handles, and with the last one of a job ends the job."""
    program = tmp_path / "runner.py"
    actor = Path(__file__).parent / "programs" / "actor.py"
    program.write_text(
        "import sys\nfrom gracefulexitcmd import Cmd\n"
        f"Cmd([sys.executable, {str(actor)!r}, 'ignore', 'with', 'ignore', 'own-group'], grace=600).run()\n"
    )
    with subprocess.Popen([PYTHON, str(program)], stderr=subprocess.PIPE, text=True) as runner:
        assert runner.stderr is not None
        child = psutil.Process(int(runner.stderr.readline().removeprefix("child ")))
        assert runner.stderr.readline() == "ready\n"
        leader = psutil.Process(child.ppid())
        runner.kill()
        for process in (leader, child):
            process.wait(10)


def test_closed_container_ends_everybody(actors: Actors, wait: Wait) -> None:
    """Proves Windows."""
    container = Container()
    command, (child,) = actors("ignore", "with", "ignore", container=container)
    container.close()
    assert wait(command).cause is Cause.EXITED
    child.wait(10)


@pytest.mark.usefixtures("delivered")
def test_what_was_left_in_the_background_is_rounded_up(actors: Actors, wait: Wait, tmp_path: Path) -> None:
    """Stand-in for the break: a dead leader's group is still told."""
    mark = tmp_path / "mark"
    with contain(grace=LONG) as container:
        command, (child,) = actors("leave", "with", "heed", str(mark), container=container)
        assert wait(command).ok
        ended = Roundup(container, LONG).run()
    assert mark.read_text() == f"cleaned {child.pid}\n"
    assert [(each.pid, each.found, each.ended_by) for each in ended.census] == [(child.pid, "job", "CTRL_BREAK")]


def test_background_outlives_a_command_without_a_container(actors: Actors, wait: Wait) -> None:
    """Proves Windows: as elsewhere, only what was cancelled or contained is ended."""
    command, (child,) = actors("leave", "with", "ignore")
    assert wait(command).ok
    assert child.is_running()
    child.kill()


def test_nested_in_a_job_of_a_ci_system(tmp_path: Path) -> None:
    """Proves Windows: a runner that is in a job itself can make more of them."""
    program = tmp_path / "runner.py"
    program.write_text(
        "import sys\nfrom gracefulexitcmd import Cmd, contain\n"
        "with contain(grace=0) as container:\n"
        "    ended = Cmd([sys.executable, '-c', 'import sys; sys.exit(7)'], container=container).run()\n"
        "sys.exit(ended.returncode)\n"
    )
    outer = JobObject()
    runner = subprocess.Popen([PYTHON, str(program)], creationflags=0x4)
    from gracefulexitcmd.windows import calls

    handle = open_leader(runner.pid)
    outer.assign(handle)
    calls.resume_process(handle)
    assert runner.wait(30) == 7
    assert has_exited(handle)
    calls.close_handle(handle)
    outer.close()


@pytest.mark.usefixtures("delivered")
def test_second_cancel_shortens_the_grace(actors: Actors, wait: Wait) -> None:
    """Proves Windows."""
    command, _ = actors("ignore", grace=LONG)
    command.cancel()
    command.cancel(grace=0)
    ended = wait(command)
    assert [sent.name for sent in ended.signals] == ["CTRL_BREAK", "TerminateJobObject"]
    command.cancel()


def test_cancel_before_the_start_keeps_it_from_starting(kind: type[BaseCmd], wait: Wait, tmp_path: Path) -> None:
    """Proves Windows."""
    command = kind(_python("open(r'{}', 'w')".format(tmp_path / "mark")))
    command.cancel()
    assert wait(command).cause is Cause.CANCELLED
    assert not (tmp_path / "mark").exists()


def test_time_that_is_over_ends_it(start: Start, wait: Wait) -> None:
    """Proves Windows."""
    ended = wait(start(_python("import time; time.sleep(600)"), timeout=0.2, grace=0))
    assert (ended.cause, ended.forced) == (Cause.TIMEOUT, True)


def test_holder_of_the_output_is_not_waited_for(actors: Actors, wait: Wait) -> None:
    """Proves Windows: what was written is there, and whoever is left of the job is named."""
    command, (child,) = actors("leave", "with", "ignore", stdout=subprocess.PIPE, grace=0.3)
    ended = wait(command)
    assert (ended.returncode, ended.stdout) == (0, b"")
    assert [holder.pid for holder in ended.holders] == [child.pid]
    assert ended.holders[0].argv[0] == PYTHON
    child.kill()


def test_ctrl_c_in_a_program_that_waits_stops_its_command(tmp_path: Path, press: Callable[..., None]) -> None:
    """Stand-in for the key and the break; that the wait is interrupted proves Windows."""
    here, mark = Path(__file__).parent, tmp_path / "mark"
    (tmp_path / "waiting.py").write_text(
        "import sys\nfrom gracefulexitcmd import Cmd\n"
        f"argv = [sys.executable, {str(here / 'programs' / 'actor.py')!r}, 'heed', {str(mark)!r}]\n"
        "try:\n    Cmd(argv).run()\nexcept KeyboardInterrupt:\n    sys.exit(3)\n"
    )
    with subprocess.Popen(
        [PYTHON, str(here / "wine" / "launch.py"), "waiting"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path};{os.environ.get('PYTHONPATH', '')}"},
        stderr=subprocess.PIPE,
        text=True,
        creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
    ) as waiting:
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == "ready\n"
        press(waiting.pid, ctrl_c=True)
        assert waiting.wait(30) == 3
    assert mark.read_text().count("cleaned") == 1


async def test_fifty_at_once() -> None:
    """Proves Windows."""
    ended = await asyncio.gather(*(AsyncCmd(["hostname"], stdout=subprocess.PIPE).run() for _ in range(50)))
    assert {(each.returncode, each.stdout) for each in ended} == {(0, ended[0].stdout)}
    assert ended[0].stdout


@pytest.mark.timeout(300)
async def test_no_handle_is_left_open(handles: Callable[[], int]) -> None:
    """Proves Windows: 500 commands, all with pipes, some cancelled."""

    async def batch() -> None:
        async with contain(grace=0) as container:
            cancelled = AsyncCmd(["cmd", "/c", "pause"], stdout=subprocess.PIPE, container=container, grace=0)
            await cancelled.start()
            cancelled.cancel()
            others = (
                AsyncCmd(["hostname"], input=b"x", stdout=subprocess.PIPE, container=container).run() for _ in range(24)
            )
            await asyncio.gather(cancelled.wait(), *others)

    await batch()
    before = handles()
    assert before > 0
    for _ in range(20):
        await batch()
    assert handles() < before + SOME


def test_no_handle_of_a_command_waits_for_the_garbage_collector(handles: Callable[[], int]) -> None:
    """Proves Windows: also where a command cannot be started."""
    gc.collect()
    gc.disable()
    try:
        before = handles()
        for _ in range(SOME):
            assert Cmd(["hostname"], input=b"x", stdout=subprocess.PIPE).run().ok
            with pytest.raises(FileNotFoundError):
                Cmd(["no-such-program"], input=b"x", stdout=subprocess.PIPE).run()
        assert handles() < before + SOME
    finally:
        gc.enable()


def test_nobody_can_leave_a_job(wait: Wait, start: Start) -> None:
    """Proves Windows: a child that is to be born outside of it is not born at all."""
    break_away = 0x01000000
    program = (
        "import subprocess, sys\n"
        f"try:\n    subprocess.Popen([sys.executable, '-c', ''], creationflags={break_away})\n"
        "except PermissionError:\n    sys.exit(5)\n"
    )
    assert wait(start(_python(program))).returncode == 5
