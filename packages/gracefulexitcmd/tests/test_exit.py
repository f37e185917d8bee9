"""The Exit of a command: its cause and status, whenever it is read."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.commands import FOREVER, on_every_path
from tests.support.living import lives

from gracefulexitcmd import (
    DEVNULL,
    PIPE,
    AsyncCmd,
    Cause,
    Cmd,
    CommandFailed,
    EndedProcess,
    Exit,
    Holder,
    SignalSent,
    cmd,
    run,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commands import Program, Start, Wait


@on_every_path
@pytest.mark.parametrize("status", [0, 7, 255])
def test_status_is_that_of_command(start: Start, wait: Wait, status: int) -> None:
    ended = wait(start(["sh", "-c", f"exit {status}"]))
    assert (ended.cause, ended.returncode, ended.ok) == (Cause.EXITED, status, status == 0)
    assert ended.exit_status == status
    assert (ended.forced, ended.signals, ended.census, ended.holders) == (False, (), (), ())


@on_every_path
def test_command_killed_by_signal_has_negative_status(start: Start, wait: Wait) -> None:
    ended = wait(start(["sh", "-c", "kill -USR1 $$"]))
    assert (ended.cause, ended.returncode, ended.exit_status) == (Cause.EXITED, -signal.SIGUSR1, 128 + signal.SIGUSR1)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it costs a process to ask for a name")
def test_killed_process_is_named_by_its_current_program(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader, writer = os.pipe()
    command = Cmd(["sh", "-c", f"trap '' TERM; echo; read x <{fifo}; exec sleep 1000"], stdout=writer, grace=1000)
    with open(reader) as lines, command:
        os.close(writer)
        lines.readline()
        command.cancel()
        fifo.write_text("\n")
        while psutil.Process(command.pid).cmdline() != FOREVER:
            """It is still the shell."""
        command.cancel(grace=0)
        ended = command.wait()
    assert [(process.argv, process.ended_by) for process in ended.census] == [(tuple(FOREVER), "SIGKILL")]


@on_every_path
def test_process_that_ended_earlier_is_not_reported_as_killed(start: Start, wait: Wait, program: Program) -> None:
    """The leader stays while its child obeys: only the leader got SIGKILL."""
    reader, writer = os.pipe()
    script = "import signal, subprocess, sys; subprocess.Popen(['sleep', '1000']); exec(open(sys.argv[1]).read())"
    command = start([sys.executable, "-c", script, program("ignore_term.py")[-1]], stderr=writer, grace=1000)
    os.close(writer)
    with open(reader) as lines:
        lines.readline()
    (child,) = psutil.Process(command.pid).children()
    command.cancel()
    while lives(child):
        """It obeys."""
    command.cancel(grace=0)
    ended = wait(command)
    # Before its arguments are set, the kernel only has a name for a new program: [sleep].
    assert {process.argv[0].strip("[]"): process.ended_by for process in ended.census} == {
        sys.executable: "SIGKILL",
        "sleep": "SIGTERM",
    }
    assert ended.signals[-1].processes == 1


@on_every_path
def test_status_taken_by_another_waiter_is_unknown(start: Start, wait: Wait) -> None:
    reader, writer = os.pipe()
    command = start(["sh", "-c", "read -r _; exit 3"], stdin=reader)
    assert command.pid is not None
    os.close(reader)
    os.close(writer)
    os.waitpid(command.pid, 0)
    command.cancel()
    ended = wait(command)
    assert ended.returncode is None


@on_every_path
def test_status_is_unknown_if_system_reaps_children() -> None:
    """With SIGCHLD ignored the kernel keeps no status, wait(2)."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        ends = [Cmd(["sh", "-c", "exit 3"]).run() for _ in range(5)]
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert {(ended.cause, ended.returncode, ended.exit_status) for ended in ends} == {(Cause.EXITED, None, 255)}


def test_check_raises_with_end_of_stderr() -> None:
    script = "seq 20 >&2; echo '\033[2J'broken >&2; exit 3"
    with pytest.raises(CommandFailed, match="exit status 3") as failure:
        run(["sh", "-c", script], check=True)
    error = failure.value
    assert error.argv == ("sh", "-c", script)
    assert error.exit.returncode == 3
    lines = str(error).splitlines()
    assert lines[1:3] == ["  12", "  13"]
    assert lines[-1] == r"  \x1b[2Jbroken"


def test_check_returns_exit_of_success() -> None:
    ended = run(["true"])
    assert ended.check() is ended
    with pytest.raises(CommandFailed, match="sleep 1000: timeout after 0"):
        run(["sleep", "1000"], timeout=0.05).check()


@pytest.mark.parametrize("text", [False, True])
async def test_async_run_checks_status(text: bool) -> None:
    ended = await AsyncCmd(["echo", "x"], stdout=PIPE, text=text).run(check=True)
    assert ended.stdout == ("x\n" if text else b"x\n")
    with pytest.raises(CommandFailed, match="false: exit status 1"):
        await AsyncCmd(["false"]).run(check=True)


def test_exit_can_be_pickled_and_shown() -> None:
    ended = run(["sh", "-c", "echo secret; exit 2"])
    assert pickle.loads(pickle.dumps(ended)) == ended
    assert (
        repr(ended)
        == "<Exit of sh -c 'echo secret; exit 2': exit status 2, 0 ended, stdout=<7 bytes>, stderr=<0 bytes>>"
    )
    error = pickle.loads(pickle.dumps(CommandFailed(ended)))
    assert (error.exit, str(error)) == (ended, "sh -c 'echo secret; exit 2': exit status 2")


def test_command_shows_its_state() -> None:
    command = Cmd(["sleep", "1000"])
    assert repr(command) == "<Cmd sleep 1000: not started>"
    with command:
        assert repr(command) == f"<Cmd sleep 1000: running, pid {command.pid}>"
    assert repr(command).startswith("<Cmd sleep 1000: cancelled after 0.")


def test_poll_answers_at_any_moment() -> None:
    command = Cmd(["sh", "-c", "read -r _; exit 7"], stdin=PIPE)
    with command:
        assert command.poll() is None
        command.stdin.write(b"\n")
        command.stdin.flush()
        while (ended := command.poll()) is None:
            pass
    assert (ended.cause, ended.returncode) == (Cause.EXITED, 7)


def test_command_that_ended_before_first_signal_is_not_cancelled() -> None:
    """A server that crashed is not reported as cancelled, and no signal is reported as sent."""
    with Cmd(["sh", "-c", "exit 3"], stdout=DEVNULL) as command:
        assert command.pid is not None
        os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOWAIT)
    assert command.exit is not None
    assert (command.exit.cause, command.exit.returncode, command.exit.signals) == (Cause.EXITED, 3, ())


@pytest.mark.parametrize(
    ("argv", "program", "command"),
    [
        (("/bin/sleep", "a b"), "sleep", "/bin/sleep 'a b'"),
        (("evil\nEnded 1 process\x1b[31m", "\x07"), "evil\\nEnded 1 process\\x1b[31m", None),
        (("\udcff ü",), "\\udcff ü", "'\\udcff ü'"),
        ((), "unknown", ""),
    ],
    ids=["usual", "commands to a terminal", "no text", "gone too soon"],
)
def test_process_name_is_one_line_and_controls_no_terminal(
    argv: tuple[str, ...], program: str, command: str | None
) -> None:
    """A process may choose any name."""
    ended = EndedProcess(7, argv, "group", "SIGKILL")
    assert ended.program == program
    assert ended.command == Holder(7, argv).command
    assert ended.command.isprintable()
    assert command in (None, ended.command)


ENDING = "exec >&-; sleep 0.2; exit 3"
"""Its output ends before it does."""


def test_block_waits_for_exit_that_follows_end_of_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that has closed its output is not cancelled a moment before it exits."""
    monkeypatch.setattr(cmd, "LAST_MOMENT", 1000)
    with Cmd(["sh", "-c", ENDING], stdout=PIPE) as command:
        assert command.stdout.read() == b""
    assert command.exit is not None
    assert (command.exit.cause, command.exit.returncode) == (Cause.EXITED, 3)


async def test_async_block_waits_for_exit_that_follows_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that has closed its output is not cancelled a moment before it exits."""
    monkeypatch.setattr(cmd, "LAST_MOMENT", 1000)
    async with AsyncCmd(["sh", "-c", ENDING], stdout=PIPE) as command:
        assert await command.stdout.read() == b""
    assert command.exit is not None
    assert (command.exit.cause, command.exit.returncode) == (Cause.EXITED, 3)


async def test_block_ends_command_that_closed_its_output() -> None:
    script = ["sh", "-c", "exec >&-; exec sleep 1000"]
    with Cmd(script, stdout=PIPE) as command:
        assert command.stdout.read() == b""
    async with AsyncCmd(script, stdout=PIPE) as other:
        assert await other.stdout.read() == b""
    assert command.exit is not None
    assert other.exit is not None
    assert (command.exit.cause, other.exit.cause) == (Cause.CANCELLED, Cause.CANCELLED)


def test_exit_gives_its_fields_by_vars() -> None:
    """They make an equal Exit again, and so do the fields of its parts."""
    ended = Cmd(["sleep", "1000"], timeout=0.01, grace=10).run()
    assert Exit(**vars(ended)) == ended
    assert [SignalSent(**vars(sent)) for sent in ended.signals] == list(ended.signals)
    assert vars(ended)["cause"] is Cause.TIMEOUT
