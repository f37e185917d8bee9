"""Any thread, task or signal handler may wait, cancel and raise at any moment."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.commands import FOREVER, on_every_path, thread_running

from gracefulexitcmd import Cause, Cmd, Exit
from gracefulexitcmd.posix import process_group, start
from gracefulexitcmd.posix.poller import Poller

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from tests.support.commands import Launch, Program, Wait

    from gracefulexitcmd.cmd import BaseCmd
    from gracefulexitcmd.posix.spawn import Child


@pytest.fixture
def signalled() -> Any:
    """Return a function that soon runs another one in a signal handler of the main thread."""
    before = signal.getsignal(signal.SIGUSR2)

    def signalled(function: Callable[[], None]) -> None:
        signal.signal(signal.SIGUSR2, lambda *_: function())
        os.kill(os.getpid(), signal.SIGUSR2)

    yield signalled
    signal.signal(signal.SIGUSR2, before)


def test_cancel_may_come_from_another_thread(launch: Launch, wait: Wait) -> None:
    command, _ = launch("trap.sh", "0")
    with thread_running(command.cancel):
        assert wait(command).cause is Cause.CANCELLED


@on_every_path
def test_cancels_may_come_from_many_threads_at_once(launch: Launch, wait: Wait) -> None:
    command, _ = launch("ignore_term.py", grace=0.1)
    with contextlib.ExitStack() as threads:
        for _ in range(20):
            threads.enter_context(thread_running(command.cancel))
        ended = wait(command)
    assert [sent.name for sent in ended.signals] == ["SIGTERM", "SIGCONT", "SIGKILL"]


def test_kill_follows_delay_shortened_by_another_thread(launch: Launch, wait: Wait) -> None:
    command, _ = launch("ignore_term.py", grace=1000)
    command.cancel()
    with thread_running(lambda: command.cancel(grace=0)):
        assert wait(command).forced


def test_cancel_may_come_from_signal_handler(launch: Launch, wait: Wait, signalled: Callable[..., None]) -> None:
    command, _ = launch("trap.sh", "0")
    signalled(lambda: command.cancel())
    assert wait(command).cause is Cause.CANCELLED


def test_cancel_from_signal_handler_during_start_takes_effect(
    kind: type[BaseCmd], result: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch, signalled: Callable[..., None]
) -> None:
    """The handler interrupts the thread that holds the command's lock. The stop is served when the lock is released."""
    command: Any = kind(FOREVER)
    real = process_group.Group

    def interrupted(process: subprocess.Popen[bytes]) -> process_group.Group:
        signalled(command.cancel)
        return real(process)

    monkeypatch.setattr(process_group, "Group", interrupted)
    result(command.start())
    ended: Exit = result(command.wait())
    assert (ended.cause, ended.returncode) == (Cause.CANCELLED, -signal.SIGTERM)


def test_cancel_from_another_thread_during_start_takes_effect(
    kind: type[BaseCmd], result: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    command: Any = kind(FOREVER)
    real = process_group.Group

    def cancelled_meanwhile(process: subprocess.Popen[bytes]) -> process_group.Group:
        with thread_running(command.cancel):
            return real(process)

    monkeypatch.setattr(process_group, "Group", cancelled_meanwhile)
    result(command.start())
    ended: Exit = result(command.wait())
    assert ended.cause is Cause.CANCELLED


@on_every_path
def test_many_threads_may_wait(program: Program) -> None:
    reader, writer = os.pipe()
    command = Cmd(program("ignore_term.py"), grace=0.1, stderr=writer)
    command.start()
    os.close(writer)
    with open(reader) as lines:
        lines.readline()
    ends: list[Exit] = []
    with contextlib.ExitStack() as threads:
        for _ in range(20):
            threads.enter_context(thread_running(lambda: ends.append(command.wait())))
        command.cancel()
    assert len(ends) == 20
    assert len(set(map(id, ends))) == 1


def test_waiting_thread_learns_deadline_of_departed_one(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one of two waiters may have noticed the cancel."""
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
        command.poll()  # this one takes the wake-up
        raise KeyboardInterrupt

    monkeypatch.setattr(Poller, "wait", wait)
    with thread_running(command.wait), pytest.raises(KeyboardInterrupt):
        command.wait()
    assert command.exit is not None


def test_late_wait_for_ended_command_is_harmless(descriptors: Callable[[], int]) -> None:
    """A thread that comes too late to wait closes no descriptor twice."""
    command = Cmd(["true"])
    command.start()
    command.wait()
    before = descriptors()
    for _ in range(3):
        command.wait()
    assert descriptors() == before


def test_death_is_noticed_without_polling_despite_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting thread wakes once, for the end."""
    wakes: list[float | None] = []
    real = Poller.wait

    def counted(poller: Poller, timeout: float | None) -> Any:
        wakes.append(timeout)
        return real(poller, timeout)

    monkeypatch.setattr(Poller, "wait", counted)
    command = Cmd(["sleep", "0.3"], timeout=1000)
    waiting = threading.Thread(target=command.run)  # the main thread looks for signals meanwhile
    waiting.start()
    waiting.join()
    assert command.exit is not None
    assert command.exit.ok
    assert len(wakes) == 1
    assert wakes[0] is not None
    assert wakes[0] > 900


def test_grace_period_is_awaited_without_polling(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the cancel, the leader's death and the end of the grace period wake the waiting thread."""
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


def test_keyboard_interrupt_stops_command_and_continues(program: Program, tmp_path: Path) -> None:
    """KeyboardInterrupt in a waiting thread stops the command, and is raised when the command has ended."""
    reader, writer = os.pipe()
    command = Cmd(program("trap.sh", "0"), stderr=writer)

    def interrupt() -> None:
        with open(reader) as lines:
            lines.readline()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with thread_running(interrupt):
        with pytest.raises(KeyboardInterrupt):
            command.run()
        os.close(writer)
    assert command.exit is not None
    assert (command.exit.cause, command.exit.returncode, command.exit.forced) == (Cause.CANCELLED, 0, False)


@pytest.mark.parametrize("begin", [Cmd.run, Cmd.__enter__])
def test_raising_handlers_during_start_leave_nothing(
    monkeypatch: pytest.MonkeyPatch, begin: Callable[[Cmd], object]
) -> None:
    """They run when the process exists but its id is not yet known; each runs once."""
    command = Cmd(FOREVER)
    real = start.start
    numbers = (signal.SIGUSR1, signal.SIGUSR2)
    heard: list[int] = []

    def stop(number: int, _frame: object) -> None:
        heard.append(number)
        sys.exit(7)

    def interrupted(*arguments: Any) -> tuple[Child, bool]:
        process = real(*arguments)
        for number in numbers:
            signal.raise_signal(number)
        return process

    monkeypatch.setattr(start, "start", interrupted)
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


def test_keyboard_interrupt_during_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It arrives when the process exists but its id is not yet known."""
    command = Cmd(FOREVER)
    real = start.start

    def interrupted(*arguments: Any) -> tuple[Child, bool]:
        process = real(*arguments)
        signal.raise_signal(signal.SIGINT)
        return process

    monkeypatch.setattr(start, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        command.run()
    assert command.exit is not None
    assert (command.exit.cause, command.exit.returncode) == (Cause.CANCELLED, -signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says where a thread waits")
def test_handler_set_by_handler_during_wait_stays() -> None:
    """A handler may be for one signal only, as for a first Ctrl-C; it runs during the wait."""
    command = Cmd(FOREVER)

    def once(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        command.cancel()

    def interrupt() -> None:
        _wait_in_kernel()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, once)
    with thread_running(interrupt):
        assert command.run().cause is Cause.CANCELLED
    assert signal.signal(signal.SIGUSR1, before) is signal.SIG_IGN


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


def test_cancel_racing_with_end_signals_no_other_process(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """200 rounds: nothing is raised, the cause is one of two, and no reused process id gets a signal."""
    real = os.killpg

    def killpg(number: int, which: int) -> None:
        if which != 0:  # signal 0 only checks
            os.waitid(os.P_PID, number, os.WEXITED | os.WNOWAIT | os.WNOHANG)  # fails unless it is our child
        real(number, which)

    monkeypatch.setattr(os, "killpg", killpg)
    rounds = 200 if path == "pidfd" else 50
    for turn in range(rounds):
        command = Cmd(["true"])
        command.start()
        with thread_running(command.wait):
            time.sleep(turn % 20 / 10_000)  # not a wait for an event: the moment differs in each round
            command.cancel()
        ended = command.wait()
        assert ended.cause in (Cause.EXITED, Cause.CANCELLED)
        assert ended.returncode in (0, -signal.SIGTERM)
        assert (ended.cause is Cause.EXITED) == (ended.signals == ())


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says where a thread waits")
def test_signal_that_interrupts_no_wait_is_handled() -> None:
    """It arrives in another thread, as it may arrive just before the main thread's system call."""
    command = Cmd(FOREVER, grace=10)

    def interrupt() -> None:
        _wait_in_kernel()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: command.cancel())
    with thread_running(interrupt):
        assert command.run().cause is Cause.CANCELLED
    signal.signal(signal.SIGUSR1, before)


def _wait_in_kernel() -> None:
    """Return when the main thread waits for events."""
    state = f"/proc/self/task/{threading.main_thread().native_id}/wchan"
    while "ep" not in Path(state).read_text():
        time.sleep(0.001)
