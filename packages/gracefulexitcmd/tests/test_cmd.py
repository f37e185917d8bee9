"""How commands start, are stopped and end, in both forms and on every path through the system's calls."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.support.living import lives

from gracefulexitcmd import Cause, Cmd, Exit, SignalSent, Stage
from gracefulexitcmd.ladder import Phase
from gracefulexitcmd.posix import process_group
from gracefulexitcmd.posix.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gracefulexitcmd.cmd import BaseCmd

    Launch = Callable[..., tuple[BaseCmd, str]]
    Start = Callable[..., BaseCmd]
    Wait = Callable[[BaseCmd], Exit]
    Program = Callable[..., list[str]]

on_every_path = pytest.mark.usefixtures("path")

PIPE = subprocess.PIPE
FOREVER = ["sleep", "1000"]


# A command that ends by itself


@on_every_path
@pytest.mark.parametrize("status", [0, 7, 255])
def test_status_is_the_commands_own(start: Start, wait: Wait, status: int) -> None:
    ended = wait(start(["sh", "-c", f"exit {status}"]))
    assert (ended.cause, ended.returncode, ended.ok) == (Cause.EXITED, status, status == 0)
    assert ended.exit_status == status
    assert (ended.forced, ended.signals, ended.census, ended.holders) == (False, (), (), ())


@on_every_path
def test_command_that_a_signal_ended_has_a_negative_status(start: Start, wait: Wait) -> None:
    ended = wait(start(["sh", "-c", "kill -USR1 $$"]))
    assert (ended.cause, ended.returncode, ended.exit_status) == (Cause.EXITED, -signal.SIGUSR1, 128 + signal.SIGUSR1)


def test_pipes_are_read_each_for_itself(start: Start, wait: Wait) -> None:
    ended = wait(start(["sh", "-c", "printf out; printf err >&2"], stdout=PIPE, stderr=PIPE))
    assert (ended.stdout, ended.stderr) == (b"out", b"err")


def test_stderr_can_go_where_stdout_goes(start: Start, wait: Wait) -> None:
    ended = wait(start(["sh", "-c", "printf out; printf err >&2"], stdout=PIPE, stderr=subprocess.STDOUT))
    assert (ended.stdout, ended.stderr) == (b"outerr", None)


def test_files_are_handed_to_the_command(start: Start, wait: Wait, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        ended = wait(start(["echo", "text"], stdout=file))
    assert ended.stdout is None
    assert (tmp_path / "out").read_bytes() == b"text\n"


def test_environment_and_directory_are_the_commands_own(start: Start, wait: Wait, tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "COLOUR": "blue"}
    ended = wait(start(["sh", "-c", 'echo "$COLOUR"; pwd; env | wc -l'], env=env, cwd=tmp_path, stdout=PIPE))
    assert ended.stdout is not None
    colour, directory, count = ended.stdout.decode().split()
    assert (colour, directory) == ("blue", os.fspath(tmp_path.resolve()))
    assert int(count) <= 4, "PATH, COLOUR, and PWD and OLDPWD, which the shell sets"


def test_command_leads_a_process_group_of_its_own(start: Start, wait: Wait) -> None:
    command = start(["sh", "-c", "ps -o pgid= -p $$"], stdout=PIPE)
    ended = wait(command)
    assert ended.stdout is not None
    assert int(ended.stdout) == command.pid != os.getpgrp()


@pytest.mark.parametrize("size", [0, 1, 1_000_000])
def test_input_arrives_whole(start: Start, wait: Wait, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    ended = wait(start(["cat"], input=content, stdout=PIPE))
    assert ended.ok
    assert ended.stdout == content


@pytest.mark.parametrize("script", ["exit 3", "head -c 10; exit 3", "exec <&-; exit 3"])
def test_input_that_nobody_reads_to_the_end_is_no_error(start: Start, wait: Wait, script: str) -> None:
    ended = wait(start(["sh", "-c", script], input=b"x" * 1_000_000, stdout=PIPE))
    assert (ended.cause, ended.returncode) == (Cause.EXITED, 3)


def test_command_that_never_reads_its_input_can_be_stopped(launch: Launch, wait: Wait) -> None:
    command, _ = launch("ignore_term.py", input=b"x" * 1_000_000, grace=0)
    command.cancel()
    assert wait(command).returncode == -signal.SIGKILL


@pytest.mark.parametrize("where", ["in", "out"])
@on_every_path
def test_process_that_holds_the_output_is_waited_for_and_named(launch: Launch, wait: Wait, where: str) -> None:
    """It is read from until the grace after the command's own exit, and no byte written before is lost."""
    command, holder = launch("hold_pipe.py", where, stdout=PIPE, grace=0.2)
    ended = wait(command)
    os.kill(int(holder), signal.SIGKILL)
    assert (ended.cause, ended.returncode) == (Cause.EXITED, 0)
    assert 0.2 <= ended.duration < 30
    assert ended.stdout == b"x" * 60_000 + b"end"
    assert [process.pid for process in ended.holders] == [int(holder)]
    assert ended.holders[0].argv[-1] == where


def test_what_a_holder_writes_within_the_grace_is_read(launch: Launch, wait: Wait) -> None:
    command, holder = launch("hold_pipe.py", "out", stdout=PIPE, grace=30)
    os.kill(int(holder), signal.SIGUSR1)
    # The pipe is a queue: once SIGTERM, which is sent later, has ended the holder, "late" was written.
    os.kill(int(holder), signal.SIGTERM)
    ended = wait(command)
    assert ended.stdout is not None
    assert ended.stdout.startswith(b"x" * 60_000 + b"end")
    assert ended.holders == ()


def test_cancel_while_the_output_is_held_ends_the_holder_in_the_group(launch: Launch, wait: Wait) -> None:
    command, holder = launch("hold_pipe.py", "in", stdout=PIPE, grace=30)
    _advance_until(command, Phase.DRAINING)
    command.cancel()
    ended = wait(command)
    assert (ended.cause, ended.returncode, ended.holders) == (Cause.EXITED, 0, ())
    assert [(process.pid, process.ended_by) for process in ended.census] == [(int(holder), "SIGTERM")]


def _advance_until(command: BaseCmd, phase: Phase) -> None:
    poller = command._execution.enter()
    assert poller is not None
    while command._execution._ladder.phase is not phase:
        command._execution.advance(poller.wait(None))
    command._execution.leave()


# A command that is stopped


@on_every_path
@pytest.mark.parametrize("status", [0, 7])
def test_trap_runs_and_its_status_is_told(launch: Launch, wait: Wait, status: int) -> None:
    command, _ = launch("trap.sh", str(status), stdout=PIPE)
    command.cancel()
    ended = wait(command)
    assert (ended.cause, ended.returncode, ended.forced) == (Cause.CANCELLED, status, False)
    assert ended.exit_status == 128 + signal.SIGTERM
    assert ended.stdout == b"trapped\n"
    assert [sent.name for sent in ended.signals] == ["SIGTERM", "SIGCONT"]
    assert {process.ended_by for process in ended.census} == {"SIGTERM"}
    assert command.signals == ended.signals


@on_every_path
def test_who_ignores_the_stop_signal_is_killed_when_the_grace_is_over(launch: Launch, wait: Wait) -> None:
    command, _ = launch("ignore_term.py", grace=0.15)
    command.cancel()
    ended = wait(command)
    assert (ended.cause, ended.returncode, ended.forced) == (Cause.CANCELLED, -signal.SIGKILL, True)
    assert ended.exit_status == 128 + signal.SIGKILL
    term, _, kill = ended.signals
    assert (kill.name, kill.processes) == ("SIGKILL", 1)
    assert kill.after - term.after >= 0.15
    assert [(process.pid, process.found, process.ended_by) for process in ended.census] == [
        (command.pid, "leader", "SIGKILL")
    ]
    assert ended.census[0].argv[-1].endswith("ignore_term.py")


@on_every_path
def test_child_that_outlives_the_leader_is_killed_when_the_grace_is_over(launch: Launch, wait: Wait) -> None:
    command, _ = launch("leader_obeys.sh", grace=1000)
    command.cancel()
    assert command.pid is not None
    os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOWAIT)
    command.cancel(grace=0.15)
    ended = wait(command)
    assert (ended.cause, ended.returncode, ended.forced) == (Cause.CANCELLED, -signal.SIGTERM, True)
    assert ended.signals[-1].after - ended.signals[0].after >= 0.15
    assert {(process.found, process.ended_by) for process in ended.census} == {
        ("leader", "SIGTERM"),
        ("group", "SIGKILL"),
    }


def test_who_wants_to_know_is_told_just_before_the_first_signal_is_sent(program: Program) -> None:
    told: list[object] = []

    def stopping(sent: SignalSent, ahead: tuple[Stage, ...]) -> None:
        told.append((sent.name, sent.processes, [round(stage.wait or 0) for stage in ahead]))
        told.append(psutil.Process(command.pid).status() != psutil.STATUS_ZOMBIE)

    command = Cmd(FOREVER, grace=100, stopping=stopping)
    with command:
        command.cancel()
        command.cancel(grace=0)
    assert told == [("SIGTERM", 1, [100]), True]


def test_grace_is_not_shorter_for_the_time_that_it_takes_to_tell(program: Program) -> None:
    argv = program("ignore_term.py")
    reader, writer = os.pipe()
    command = Cmd(argv, grace=0.2, stderr=writer, stopping=lambda _sent, _grace: time.sleep(0.3))
    with open(reader) as lines, command:
        os.close(writer)
        assert lines.readline() == "ready\n"
        command.cancel()
        ended = command.wait()
    term, *_, kill = ended.signals
    assert (term.name, kill.name) == ("SIGTERM", "SIGKILL")
    assert kill.after - term.after > 0.1, "else they would have been sent together"


def test_other_signals_are_for_the_whole_group() -> None:
    waiting = "trap '{} exit 7' USR1; echo; while :; do :; done"
    script = f"({waiting.format('echo child;')}) & {waiting.format('wait; echo leader;')}"
    reader, writer = os.pipe()
    with Cmd(["sh", "-c", script], stdout=writer) as command, open(reader) as lines:
        os.close(writer)
        assert [lines.readline(), lines.readline()] == ["\n", "\n"]
        assert command.send_signal(signal.SIGUSR1)
        assert command.wait().returncode == 7
        assert lines.read() == "child\nleader\n"
        assert not command.send_signal(signal.SIGUSR1)


def test_nothing_is_sent_to_a_command_that_was_not_started() -> None:
    assert not Cmd(["true"]).send_signal(signal.SIGUSR1)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it costs a process to ask for a name")
def test_who_is_killed_is_named_by_the_program_that_it_is_then(tmp_path: Path) -> None:
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
@pytest.mark.parametrize("name", ["fork_at_term.sh", "double_fork.py", "fork_anew.py"])
def test_whoever_is_in_the_group_is_gone_when_the_command_has_ended(
    launch: Launch, wait: Wait, name: str, path: str
) -> None:
    if (name, path) == ("fork_anew.py", "number and ps"):
        pytest.skip("ps takes longer than each of these processes lives, and may miss them all")
    command, _ = launch(name, grace=0.1)
    command.cancel()
    ended = wait(command)
    assert ended.forced
    assert all(process.ended_by is not None for process in ended.census)
    assert not [process for process in psutil.process_iter() if _group(process.pid) == command.pid and lives(process)]


def test_background_process_of_a_command_that_has_ended_by_itself_lives_on() -> None:
    """Whoever wants it to end starts the command in a container."""
    ended = Cmd(["sh", "-c", "sleep 1000 >/dev/null & echo $!"], stdout=PIPE).run()
    assert ended.ok
    background = psutil.Process(int(ended.stdout or b""))
    assert background.status() != psutil.STATUS_ZOMBIE
    background.kill()


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


@on_every_path
def test_who_ended_before_the_kill_is_not_said_to_be_killed(start: Start, wait: Wait, program: Program) -> None:
    """The leader stays while its child obeys: SIGKILL was for the leader alone."""
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
    # Between its start and its arguments being there, the kernel has a name for the program only: [sleep].
    assert {process.argv[0].strip("[]"): process.ended_by for process in ended.census} == {
        sys.executable: "SIGKILL",
        "sleep": "SIGTERM",
    }
    assert ended.signals[-1].processes == 1


@on_every_path
def test_stopped_process_can_act(launch: Launch, wait: Wait) -> None:
    command, _ = launch("stop_itself.sh", stdout=PIPE)
    assert command.pid is not None
    os.waitid(os.P_PID, command.pid, os.WSTOPPED | os.WNOWAIT)
    command.cancel()
    ended = wait(command)
    assert (ended.returncode, ended.stdout, ended.forced) == (0, b"trapped\n", False)


@on_every_path
def test_output_of_a_trap_arrives_whole(launch: Launch, wait: Wait) -> None:
    command, _ = launch("write_at_term.py", stdout=PIPE)
    command.cancel()
    ended = wait(command)
    assert ended.stdout == b"0123456789" * 1_000_000
    assert (ended.returncode, ended.forced) == (0, False)


@on_every_path
def test_timeout_takes_the_same_road(start: Start, wait: Wait, program: Program) -> None:
    ended = wait(start(FOREVER, timeout=0.1))
    assert (ended.cause, ended.returncode, ended.forced) == (Cause.TIMEOUT, -signal.SIGTERM, False)
    assert ended.signals[0].after >= 0.1
    assert ended.exit_status == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_stop_signal_can_be_another(start: Start, wait: Wait, number: signal.Signals) -> None:
    command = start(FOREVER, stop_signal=number)
    command.cancel()
    ended = wait(command)
    assert (ended.returncode, ended.signals[0].name, ended.exit_status) == (-number, number.name, 128 + number)


def test_cancel_before_the_start_keeps_the_command_from_starting(
    kind: type[BaseCmd], result: Callable[[Any], Any], tmp_path: Path
) -> None:
    command: Any = kind(["touch", str(tmp_path / "file")])
    command.cancel()
    command.cancel()
    result(command.start())
    ended: Exit = result(command.wait())
    assert (ended.cause, ended.returncode, ended.signals, command.pid) == (Cause.CANCELLED, None, (), None)
    assert not (tmp_path / "file").exists()


@on_every_path
def test_cancel_after_the_end_does_nothing(start: Start, wait: Wait) -> None:
    command = start(["true"])
    ended = wait(command)
    command.cancel()
    command.cancel(grace=0)
    assert wait(command) is ended is command.exit
    assert (ended.cause, ended.signals) == (Cause.EXITED, ())


@on_every_path
def test_second_cancel_shortens_the_delay(launch: Launch, wait: Wait) -> None:
    command, _ = launch("ignore_term.py", grace=1000)
    command.cancel()
    command.cancel(grace=0.1)
    ended = wait(command)
    assert ended.forced
    assert [sent.name for sent in ended.signals] == ["SIGTERM", "SIGCONT", "SIGKILL"]


def test_second_cancel_never_lengthens_the_delay(launch: Launch, wait: Wait) -> None:
    command, _ = launch("ignore_term.py", grace=0.1)
    command.cancel()
    command.cancel(grace=1000)
    assert wait(command).forced


def test_cancel_comes_from_another_thread(launch: Launch, wait: Wait) -> None:
    command, _ = launch("trap.sh", "0")
    with _thread_running(command.cancel):
        assert wait(command).cause is Cause.CANCELLED


@on_every_path
def test_cancels_come_from_many_threads_at_once(launch: Launch, wait: Wait) -> None:
    command, _ = launch("ignore_term.py", grace=0.1)
    with contextlib.ExitStack() as threads:
        for _ in range(20):
            threads.enter_context(_thread_running(command.cancel))
        ended = wait(command)
    assert [sent.name for sent in ended.signals] == ["SIGTERM", "SIGCONT", "SIGKILL"]


def test_kill_comes_at_the_delay_that_another_thread_shortened(launch: Launch, wait: Wait) -> None:
    command, _ = launch("ignore_term.py", grace=1000)
    command.cancel()
    with _thread_running(lambda: command.cancel(grace=0)):
        assert wait(command).forced


def test_cancel_comes_from_a_signal_handler(launch: Launch, wait: Wait, signalled: Callable[..., None]) -> None:
    command, _ = launch("trap.sh", "0")
    signalled(lambda: command.cancel())
    assert wait(command).cause is Cause.CANCELLED


def test_cancel_from_a_signal_handler_while_the_command_starts(
    kind: type[BaseCmd], result: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch, signalled: Callable[..., None]
) -> None:
    """The handler interrupts the thread that holds the command's lock; the stop is served when that lets go."""
    command: Any = kind(FOREVER)
    real = process_group.open_group

    def interrupted(process: subprocess.Popen[bytes]) -> process_group.Group:
        signalled(command.cancel)
        return real(process)

    monkeypatch.setattr(process_group, "open_group", interrupted)
    result(command.start())
    ended: Exit = result(command.wait())
    assert (ended.cause, ended.returncode) == (Cause.CANCELLED, -signal.SIGTERM)


def test_cancel_from_another_thread_while_the_command_starts(
    kind: type[BaseCmd], result: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    command: Any = kind(FOREVER)
    real = process_group.open_group

    def cancelled_meanwhile(process: subprocess.Popen[bytes]) -> process_group.Group:
        with _thread_running(command.cancel):
            return real(process)

    monkeypatch.setattr(process_group, "open_group", cancelled_meanwhile)
    result(command.start())
    ended: Exit = result(command.wait())
    assert ended.cause is Cause.CANCELLED


@pytest.fixture
def signalled() -> Any:
    """Runs a function in a signal handler of the main thread, soon."""
    before = signal.getsignal(signal.SIGUSR2)

    def signalled(function: Callable[[], None]) -> None:
        signal.signal(signal.SIGUSR2, lambda *_: function())
        os.kill(os.getpid(), signal.SIGUSR2)

    yield signalled
    signal.signal(signal.SIGUSR2, before)


@contextlib.contextmanager
def _thread_running(function: Callable[[], object]) -> Any:
    thread = threading.Thread(target=function)
    thread.start()
    try:
        yield
    finally:
        thread.join()


# Who waits


@on_every_path
def test_any_number_of_threads_wait(program: Program) -> None:
    reader, writer = os.pipe()
    command = Cmd(program("ignore_term.py"), grace=0.1, stderr=writer)
    command.start()
    os.close(writer)
    with open(reader) as lines:
        lines.readline()
    ends: list[Exit] = []
    with contextlib.ExitStack() as threads:
        for _ in range(20):
            threads.enter_context(_thread_running(lambda: ends.append(command.wait())))
        command.cancel()
    assert len(ends) == 20
    assert len(set(map(id, ends))) == 1


def test_thread_that_goes_on_waiting_learns_the_deadline_of_one_that_left(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one of two may have noticed the cancel; when an exception takes it away, the other one sends SIGKILL."""
    command = Cmd(program("ignore_term.py"), grace=0.2)
    command.start()
    waiting = threading.Semaphore(0)
    real = Poller.wait

    def wait(poller: Poller, timeout: float | None) -> Any:
        if threading.current_thread() is not threading.main_thread():
            waiting.release()
            return real(poller, timeout)
        if timeout == 0:
            return real(poller, timeout)
        waiting.acquire()
        command.cancel()
        with command._execution._lock:
            poller.react(real(poller, 0))
        raise KeyboardInterrupt

    monkeypatch.setattr(Poller, "wait", wait)
    with _thread_running(command.wait), pytest.raises(KeyboardInterrupt):
        command.wait()
    assert command.exit is not None


def test_waiting_for_a_command_that_ended_meanwhile_is_harmless(descriptors: Callable[[], int]) -> None:
    """A thread that comes too late to wait closes nothing for a second time."""
    command = Cmd(["true"])
    command.start()
    command.wait()
    before = descriptors()
    for _ in range(3):
        assert command._execution.enter() is None
        command.wait()
    assert descriptors() == before


def test_death_is_noticed_without_polling_although_a_timeout_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting thread wakes once, for the end."""
    wakes: list[float | None] = []
    real = Poller.wait

    def counted(poller: Poller, timeout: float | None) -> Any:
        wakes.append(timeout)
        return real(poller, timeout)

    monkeypatch.setattr(Poller, "wait", counted)
    ended = Cmd(["sleep", "0.3"], timeout=1000).run()
    assert ended.ok
    assert len(wakes) == 1
    assert wakes[0] is not None
    assert wakes[0] > 900


def test_grace_is_waited_for_without_polling(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cancel, the leader's death and the end of the grace wake the waiting thread, nothing else."""
    wakes: list[float | None] = []
    real = Poller.wait

    def counted(poller: Poller, timeout: float | None) -> Any:
        wakes.append(timeout)
        return real(poller, timeout)

    reader, writer = os.pipe()
    command = Cmd(program("leader_obeys.sh"), stderr=writer, grace=0.5)
    command.start()
    os.close(writer)
    with open(reader) as lines:
        lines.readline()
    monkeypatch.setattr(Poller, "wait", counted)
    command.cancel()
    assert command.wait().forced
    assert len(wakes) <= 6


@pytest.mark.parametrize("timeout", [1e7, 1e300], ids=["months", "for ever"])
def test_timeout_can_be_longer_than_the_system_waits_at_once(start: Start, wait: Wait, timeout: float) -> None:
    assert wait(start(["true"], timeout=timeout)).ok


def test_keyboard_interrupt_stops_the_command_gracefully_and_goes_on(program: Program, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    command = Cmd(program("trap.sh", "0"), stderr=writer)

    def interrupt() -> None:
        with open(reader) as lines:
            lines.readline()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with _thread_running(interrupt):
        with pytest.raises(KeyboardInterrupt):
            command.run()
        os.close(writer)
    assert command.exit is not None
    assert (command.exit.cause, command.exit.returncode, command.exit.forced) == (Cause.CANCELLED, 0, False)


@pytest.mark.parametrize("begin", [Cmd.run, Cmd.__enter__])
def test_handlers_that_raise_while_the_command_starts_leave_nothing(
    monkeypatch: pytest.MonkeyPatch, begin: Callable[[Cmd], object]
) -> None:
    """They come just when the process is there and its number is not known yet; each is called once.

    No process and no descriptor is left.
    """
    command = Cmd(FOREVER)
    real = subprocess.Popen._execute_child  # type: ignore[attr-defined]
    numbers = (signal.SIGUSR1, signal.SIGUSR2)
    heard: list[int] = []

    def stop(number: int, _frame: object) -> None:
        heard.append(number)
        sys.exit(7)

    def interrupted(*arguments: Any) -> None:
        real(*arguments)
        for number in numbers:
            signal.raise_signal(number)

    monkeypatch.setattr(subprocess.Popen, "_execute_child", interrupted)
    before = [signal.signal(number, stop) for number in numbers]
    opened = os.listdir("/dev/fd")
    with pytest.raises(SystemExit):
        begin(command)
    assert len(os.listdir("/dev/fd")) == len(opened)
    after = [signal.signal(number, handler) for number, handler in zip(numbers, before, strict=True)]
    assert after == [stop, stop]
    assert heard == list(numbers)
    assert command.exit is not None
    assert (command.exit.cause, command.exit.returncode) == (Cause.CANCELLED, -signal.SIGTERM)


def test_keyboard_interrupt_while_the_command_starts_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes just when the process is there and its number is not known yet."""
    command = Cmd(FOREVER)
    real = subprocess.Popen._execute_child  # type: ignore[attr-defined]

    def interrupted(*arguments: Any) -> None:
        real(*arguments)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess.Popen, "_execute_child", interrupted)
    with pytest.raises(KeyboardInterrupt):
        command.run()
    assert command.exit is not None
    assert (command.exit.cause, command.exit.returncode) == (Cause.CANCELLED, -signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_keyboard_interrupt_kills(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    command = Cmd(program("ignore_term.py"), stderr=writer, grace=1000)
    real = Poller.wait
    interrupts = 0

    def wait(poller: Poller, timeout: float | None) -> Any:
        nonlocal interrupts
        if interrupts < 2:
            interrupts += 1
            if interrupts == 1:
                with open(reader) as lines:
                    lines.readline()
            raise KeyboardInterrupt
        return real(poller, timeout)

    monkeypatch.setattr(Poller, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        command.run()
    os.close(writer)
    assert command.exit is not None
    assert (command.exit.returncode, command.exit.forced) == (-signal.SIGKILL, True)


def test_block_stops_what_still_runs_at_its_end(program: Program) -> None:
    with pytest.raises(ZeroDivisionError), Cmd(FOREVER) as command:
        raise ZeroDivisionError
    assert command.exit is not None
    assert (command.exit.cause, command.exit.returncode) == (Cause.CANCELLED, -signal.SIGTERM)


def test_block_leaves_what_has_ended_alone() -> None:
    with Cmd(["true"]) as command:
        command.wait()
    assert command.exit is not None
    assert command.exit.ok


# What goes wrong


def test_second_start_is_refused(start: Start, wait: Wait, result: Callable[[Any], Any]) -> None:
    command: Any = start(["true"])
    with pytest.raises(RuntimeError, match="started before: make a new one"):
        result(command.start())
    wait(command)
    with pytest.raises(RuntimeError, match="started before: make a new one"):
        result(command.start())


def test_waiting_before_the_start_is_refused(kind: type[BaseCmd], result: Callable[[Any], Any]) -> None:
    command: Any = kind(["true"])
    with pytest.raises(RuntimeError, match="not started yet: call start first"):
        result(command.wait())


@pytest.mark.parametrize("grace", [-1, float("inf"), float("nan")])
def test_cancel_within_no_time_is_refused(start: Start, wait: Wait, grace: float) -> None:
    command = start(["true"])
    with pytest.raises(ValueError, match=r"grace is .*: it must be a number of seconds"):
        command.cancel(grace=grace)
    assert wait(command).ok


@on_every_path
@pytest.mark.parametrize("argv", [["/no/such/program"], ["no-such-program"], ["/"]])
def test_program_that_cannot_be_run_leaves_nothing(
    kind: type[BaseCmd], result: Callable[[Any], Any], argv: list[str], descriptors: Callable[[], int]
) -> None:
    command: Any = kind(argv, stdout=PIPE, stderr=PIPE, input=b"text")
    before = descriptors()
    with pytest.raises(OSError, match=argv[0]):
        result(command.start())
    assert descriptors() == before
    assert command.pid is None


def test_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        Cmd(["true"], cwd=tmp_path / "missing").start()


@on_every_path
@pytest.mark.parametrize("successes", [0, 1, 2, 3])
def test_command_that_cannot_be_looked_after_is_ended(
    monkeypatch: pytest.MonkeyPatch, descriptors: Callable[[], int], successes: int
) -> None:
    """There was memory for the process, but not for all that waits for it."""
    real = Poller.watch
    left = successes

    def watch(*arguments: Any, **options: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        real(*arguments, **options)

    before = descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(Poller, "watch", watch)
        with pytest.raises(OSError, match="Cannot allocate memory"):
            Cmd(FOREVER, stdout=PIPE, input=b"text").start()
    _join_waiting_threads()
    assert descriptors() == before


def _join_waiting_threads() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("wait for"):
            thread.join()


OUT_OF_DESCRIPTORS = """\
import os, resource, subprocess, sys
from gracefulexitcmd import Cmd
reader, writer = os.pipe()
command = Cmd(sys.argv[1:], grace=1000, stderr=writer)
command.start()
os.close(writer)
open(reader).readline()
used = max(map(int, os.listdir("/proc/self/fd"))) + 1
resource.setrlimit(resource.RLIMIT_NOFILE, (used, used))
held = []
try:
    while True:
        held.append(os.dup(0))
except OSError:
    pass
command.cancel()
os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOWAIT)
command.cancel(grace=0.2)
exit = command.wait()
print(exit.returncode, exit.forced)
"""


def test_stop_needs_no_free_descriptor(program: Program) -> None:
    """Where nobody can be listed, nobody is taken to be gone: SIGKILL comes when the grace is over."""
    ended = subprocess.run(
        [sys.executable, "-c", OUT_OF_DESCRIPTORS, *program("leader_obeys.sh")], capture_output=True, text=True
    )
    assert (ended.stdout, ended.stderr) == ("-15 True\n", "")


@on_every_path
def test_status_that_somebody_else_took_is_unknown(kind: type[BaseCmd], wait: Wait) -> None:
    command = kind(["sh", "-c", "exit 3"])
    command._execution.start()
    assert command.pid is not None
    os.waitpid(command.pid, 0)
    command.cancel()
    ended = wait(command)
    assert ended.returncode is None


@on_every_path
def test_status_is_unknown_where_children_are_reaped_by_the_system() -> None:
    """With SIGCHLD ignored, the kernel keeps no status for anybody (wait(2))."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        ends = [Cmd(["sh", "-c", "exit 3"]).run() for _ in range(5)]
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert {(ended.cause, ended.returncode, ended.exit_status) for ended in ends} == {(Cause.EXITED, None, 255)}


UNKILLABLE = """\
import json, sys
from gracefulexitcmd import Cmd, ladder
ladder.KILL_PATIENCE = 0.2
argv = ["setpriv", "--reuid", "65534", "sh", "-c", "echo ready; exec sleep 1000"]
with Cmd(argv, stdout=int(sys.argv[1]), stderr=-3, grace=0.1) as command:
    open(int(sys.argv[2])).readline()
exit = command.exit
print(json.dumps([exit.cause, exit.returncode, exit.forced, [[p.pid, p.ended_by] for p in exit.census], command.pid]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process that it may not signal")
def test_who_may_not_be_signalled_is_reported_and_not_waited_for() -> None:
    """Root without CAP_KILL may not end what became another user."""
    reader, writer = os.pipe()
    argv = ["setpriv", "--bounding-set", "-kill", "--inh-caps", "-kill", sys.executable, "-W", "ignore"]
    ended = subprocess.run(
        [*argv, "-c", UNKILLABLE, str(writer), str(reader)], pass_fds=(reader, writer), capture_output=True, text=True
    )
    os.close(reader)
    os.close(writer)
    assert ended.stderr == ""
    cause, status, forced, census, pid = json.loads(ended.stdout)
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait()
    assert (cause, status, forced) == ("cancelled", None, True)
    assert census == [[pid, None]]


FREEZER = "/sys/fs/cgroup/freezer"

FROZEN = """\
import json, os, sys
from gracefulexitcmd import Cmd, ladder
ladder.KILL_PATIENCE = 0.2
command = Cmd(["sleep", "1000"], grace=0.1)
command.start()
with open(f"{sys.argv[1]}/tasks", "w") as tasks:
    tasks.write(str(command.pid))
with open(f"{sys.argv[1]}/freezer.state", "w") as state:
    state.write("FROZEN")
with open(f"{sys.argv[1]}/freezer.state") as state:
    while state.read() != "FROZEN\\n":
        state.seek(0)
command.cancel()
ended = command.wait()
census = [[process.pid == command.pid, process.ended_by] for process in ended.census]
print(json.dumps([ended.cause, ended.returncode, ended.forced, census]))
with open(f"{sys.argv[1]}/freezer.state", "w") as state:
    state.write("THAWED")
os.waitpid(command.pid, 0)
"""


@pytest.mark.skipif(not os.access(FREEZER, os.W_OK), reason="the freezer of version 1 is needed, and root")
def test_who_does_not_die_is_reported_and_not_waited_for() -> None:
    """What the freezer of version 1 holds is in uninterruptible sleep, state D, as is who waits for a dead server."""
    directory = f"{FREEZER}/test-{os.getpid()}"
    os.mkdir(directory)
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", FROZEN, directory], capture_output=True, text=True)
    os.rmdir(directory)
    assert ended.stderr == ""
    assert json.loads(ended.stdout) == ["cancelled", None, True, [[True, None]]]


# What is left behind


def test_two_hundred_commands_leave_nothing(descriptors: Callable[[], int], path: str) -> None:
    """No descriptor and no thread; zombies are looked for after every test."""
    Cmd(["true"], stdout=PIPE, stderr=PIPE, input=b"text").run()
    _join_waiting_threads()
    descriptors_before, threads_before = descriptors(), threading.active_count()
    for _ in range(200 if path == "pidfd" else 50):
        Cmd(["true"], stdout=PIPE, stderr=PIPE, input=b"text").run()
    _join_waiting_threads()
    assert descriptors() == descriptors_before
    assert threading.active_count() == threads_before


@on_every_path
def test_command_that_nobody_waited_for_leaves_no_descriptors(descriptors: Callable[[], int]) -> None:
    before = descriptors()
    command = Cmd(["cat"], stdout=PIPE, input=b"text")
    command.start()
    pid = command.pid
    assert pid is not None
    with pytest.warns(ResourceWarning, match=f"subprocess {pid} is still running"):  # noqa: PT031 - at either of both
        del command
        gc.collect()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    _join_waiting_threads()
    assert descriptors() == before


def test_fork_takes_nothing_from_the_command_of_its_parent() -> None:
    """A forked copy that is thrown away neither reads the output nor unregisters what the parent waits for."""
    command = Cmd(["sh", "-c", "printf text; exec sleep 0.2"], stdout=PIPE)
    command.start()
    forked = os.fork()
    if forked == 0:
        with contextlib.suppress(BaseException):
            command._execution._run.__del__()  # type: ignore[union-attr]
        os._exit(0)
    os.waitpid(forked, 0)
    ended = command.wait()
    assert (ended.ok, ended.stdout) == (True, b"text")


def test_cancel_racing_with_the_end_signals_nobody_else(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """200 rounds: nothing is raised, the cause is one of two, and no number is signalled that may be another's."""
    real = os.killpg

    def killpg(number: int, which: int) -> None:
        if which != 0:  # 0 only asks
            os.waitid(os.P_PID, number, os.WEXITED | os.WNOWAIT | os.WNOHANG)  # raises where it is no child of ours
        real(number, which)

    monkeypatch.setattr(os, "killpg", killpg)
    rounds = 200 if path == "pidfd" else 50
    for turn in range(rounds):
        command = Cmd(["true"])
        command.start()
        with _thread_running(command.wait):
            time.sleep(turn % 20 / 10_000)  # not a wait for anything: another moment every time
            command.cancel()
        ended = command.wait()
        assert ended.cause in (Cause.EXITED, Cause.CANCELLED)
        assert ended.returncode in (0, -signal.SIGTERM)
        assert (ended.cause is Cause.EXITED) == (ended.signals == ())
