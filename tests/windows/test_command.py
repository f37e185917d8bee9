"""Commands on Windows: the job, the break, the census.

A docstring with "Proves Windows" relies on Wine's job objects, pipes and processes, which behave like those of Windows.
"Stand-in": under Wine the test itself delivers CTRL_BREAK, and only a run on Windows proves that its console does.
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

from gracefulexitcmd import AsyncCmd, Cause, Cmd, Exit, ManualContainer, Termination, contain
from gracefulexitcmd.container import opened
from gracefulexitcmd.windows.job import KILLED, JobObject
from gracefulexitcmd.windows.process import has_exited, open_leader

if TYPE_CHECKING:
    from collections.abc import Callable

    from gracefulexitcmd.cmd import BaseCmd

    Actors = Callable[..., tuple[BaseCmd, list[psutil.Process]]]
    Wait = Callable[[BaseCmd], Exit]
    Start = Callable[..., BaseCmd]

SOME = 10
"""The tolerance for handles of ending threads, and the number of commands, each of which might leak a handle."""

LONG = 60.0
"""A grace period in seconds that never expires in a test."""

CONTROL_C_EXIT = 0xC000013A
"""STATUS_CONTROL_C_EXIT, with which Windows ends a program that has no handler."""

PYTHON = sys.executable


def _python(program: str, *arguments: str) -> list[str]:
    return [PYTHON, "-c", program, *arguments]


@pytest.mark.parametrize("status", [0, 7, 259, CONTROL_C_EXIT], ids=str)
def test_exit_status_is_returned(start: Start, wait: Wait, status: int) -> None:
    """Proves Windows; 259 is STILL_ACTIVE, which the system also reports for a live process."""
    program = f"import ctypes; ctypes.windll.kernel32.ExitProcess(ctypes.c_uint({status}))"
    ended = wait(start(_python(program)))
    assert (ended.cause, ended.returncode, ended.forced, ended.census) == (Cause.EXITED, status, False, ())


def test_large_output_and_input_pass_unchanged(start: Start, wait: Wait) -> None:
    """Proves Windows: more bytes than fit into a pipe, in both directions at once."""
    content = bytes(range(256)) * 8192
    program = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()); sys.stderr.buffer.write(b'done')"
    ended = wait(start(_python(program), input=content, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    assert ended.stdout == content
    assert ended.stderr == b"done"


def test_missing_program_raises_file_not_found(start: Start) -> None:
    """Proves Windows."""
    with pytest.raises(FileNotFoundError):
        start(["no-such-program"])


def test_stop_signal_is_refused() -> None:
    """Proves Windows."""
    import signal

    with pytest.raises(ValueError, match="stop cannot be chosen on Windows"):
        Cmd(["program"], stop_signal=signal.SIGINT)


@pytest.mark.usefixtures("delivered")
def test_group_gets_grace_period(actors: Actors, wait: Wait, tmp_path: Path) -> None:
    """Stand-in: the leader and its child both get the break, and no process is killed."""
    marks = [tmp_path / name for name in ("leader", "child")]  # under Wine two that append to one lose a line
    command, (child,) = actors("heed", str(marks[0]), "with", "heed", str(marks[1]), grace=LONG)
    command.cancel()
    ended = wait(command)
    assert [mark.read_text().split()[1] for mark in marks] == [str(command.pid), str(child.pid)]
    assert (ended.cause, ended.returncode, ended.forced, ended.exit_status) == (Cause.CANCELLED, 0, False, 143)
    assert [(sent.name, sent.processes) for sent in ended.signals] == [("CTRL_BREAK", 2)]
    assert {(each.pid, each.found, each.ended_by) for each in ended.census} == {
        (command.pid, "leader", "CTRL_BREAK"),
        (child.pid, "job", "CTRL_BREAK"),
    }


@pytest.mark.usefixtures("delivered")
def test_program_without_handler_ends_at_break(actors: Actors, wait: Wait) -> None:
    """Stand-in."""
    command, _ = actors("default", grace=LONG)
    command.cancel()
    ended = wait(command)
    assert (ended.returncode, ended.forced) == (CONTROL_C_EXIT, False)


@pytest.mark.usefixtures("delivered")
def test_grace_period_lasts_until_job_is_empty(actors: Actors, wait: Wait, tmp_path: Path) -> None:
    """Stand-in for the break; the wait for the whole job, not only for the leader, proves Windows."""
    mark = tmp_path / "mark"
    command, (child,) = actors("default", "with", "heed", str(mark), grace=LONG)
    command.cancel()
    ended = wait(command)
    assert mark.read_text() == f"cleaned {child.pid}\n"
    assert (ended.returncode, ended.forced) == (CONTROL_C_EXIT, False)


@pytest.mark.usefixtures("delivered")
def test_grandchild_that_ignores_break_is_killed(actors: Actors, wait: Wait) -> None:
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
def test_descendant_in_another_console_group_is_killed(actors: Actors, wait: Wait, tmp_path: Path) -> None:
    """Stand-in: no break reaches another group, so the process is killed after the grace period."""
    mark = tmp_path / "mark"
    command, (child,) = actors("default", "with", "heed", str(mark), "own-group", grace=0.5)
    command.cancel()
    ended = wait(command)
    assert not mark.exists()
    assert [each.pid for each in ended.census if each.killed] == [child.pid]


def test_runner_without_console_kills_at_once(tmp_path: Path) -> None:
    """Proves Windows: a program without a console cannot send a break, so it kills without waiting."""
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


def test_child_of_first_instruction_starts_in_job(start: Start, wait: Wait) -> None:
    """Proves Windows: the leader starts a child at once, and ends without waiting for it."""
    program = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    with contain(grace=0) as container:
        command = start(_python(program), container=container)
        assert wait(command).cause is Cause.EXITED
        (left,) = [psutil.Process(pid) for pid in opened(container).job.processes()]
    assert left.wait(10) in (KILLED, None)


def test_killed_runner_ends_its_descendants(tmp_path: Path) -> None:
    """Proves Windows: the system closes the runner's handles, and the close of the last handle kills the job."""
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


def test_closed_container_kills_its_processes(actors: Actors, wait: Wait) -> None:
    """Proves Windows."""
    container = ManualContainer()
    command, (child,) = actors("ignore", "with", "ignore", container=container)
    container.close()
    assert wait(command).cause is Cause.EXITED
    child.wait(10)


@pytest.mark.usefixtures("delivered")
def test_background_process_is_stopped_with_container(actors: Actors, wait: Wait, tmp_path: Path) -> None:
    """Stand-in for the break: the group of a dead leader still gets it."""
    mark = tmp_path / "mark"
    with contain(grace=LONG) as container:
        command, (child,) = actors("leave", "with", "heed", str(mark), container=container)
        assert wait(command).ok
        ended = Termination(container, LONG).run()
    assert mark.read_text() == f"cleaned {child.pid}\n"
    assert [(each.pid, each.found, each.ended_by) for each in ended.census] == [(child.pid, "job", "CTRL_BREAK")]


def test_background_outlives_command_without_container(actors: Actors, wait: Wait) -> None:
    """Proves Windows: as on other systems, only cancelled or contained processes are ended."""
    command, (child,) = actors("leave", "with", "ignore")
    assert wait(command).ok
    assert child.is_running()
    child.kill()


def test_command_runs_inside_job_of_ci_system(tmp_path: Path) -> None:
    """Proves Windows: a runner inside a job can create nested jobs."""
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
def test_second_cancel_shortens_grace_period(actors: Actors, wait: Wait) -> None:
    """Proves Windows."""
    command, _ = actors("ignore", grace=LONG)
    command.cancel()
    command.cancel(grace=0)
    ended = wait(command)
    assert [sent.name for sent in ended.signals] == ["CTRL_BREAK", "TerminateJobObject"]
    command.cancel()


def test_cancelled_command_does_not_start(kind: type[BaseCmd], wait: Wait, tmp_path: Path) -> None:
    """Proves Windows."""
    command = kind(_python("open(r'{}', 'w')".format(tmp_path / "mark")))
    command.cancel()
    assert wait(command).cause is Cause.CANCELLED
    assert not (tmp_path / "mark").exists()


def test_timeout_kills_command(start: Start, wait: Wait) -> None:
    """Proves Windows."""
    ended = wait(start(_python("import time; time.sleep(600)"), timeout=0.2, grace=0))
    assert (ended.cause, ended.forced) == (Cause.TIMEOUT, True)


def test_wait_names_holder_of_output_and_returns(actors: Actors, wait: Wait) -> None:
    """Proves Windows: the output so far is returned, and the remaining processes of the job are named."""
    command, (child,) = actors("leave", "with", "ignore", stdout=subprocess.PIPE, grace=0.3)
    ended = wait(command)
    assert (ended.returncode, ended.stdout) == (0, b"")
    assert [holder.pid for holder in ended.holders] == [child.pid]
    assert ended.holders[0].argv[0] == PYTHON
    child.kill()


def test_ctrl_c_in_waiting_program_stops_its_command(tmp_path: Path, press: Callable[..., None]) -> None:
    """Stand-in for the key and the break; the interruption of the wait proves Windows."""
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


async def test_fifty_commands_run_at_once() -> None:
    """Proves Windows."""
    ended = await asyncio.gather(*(AsyncCmd(["hostname"], stdout=subprocess.PIPE).run() for _ in range(50)))
    assert {(each.returncode, each.stdout) for each in ended} == {(0, ended[0].stdout)}
    assert ended[0].stdout


@pytest.mark.timeout(300)
async def test_commands_leave_no_handle_open(handles: Callable[[], int]) -> None:
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


def test_handles_are_closed_without_garbage_collector(handles: Callable[[], int]) -> None:
    """Proves Windows: also for a command that cannot be started."""
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


def test_child_cannot_break_away_from_job(wait: Wait, start: Start) -> None:
    """Proves Windows: the start of a child with CREATE_BREAKAWAY_FROM_JOB fails."""
    break_away = 0x01000000
    program = (
        "import subprocess, sys\n"
        f"try:\n    subprocess.Popen([sys.executable, '-c', ''], creationflags={break_away})\n"
        "except PermissionError:\n    sys.exit(5)\n"
    )
    assert wait(start(_python(program))).returncode == 5
