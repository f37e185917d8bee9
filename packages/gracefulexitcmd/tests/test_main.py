"""`python -m gracefulexitcmd` from the view of a shell."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.support.living import lives

from gracefulexitcmd import __main__ as main_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TIMED_OUT = r"gracefulexitcmd: the command was stopped by its --timeout \(timeout after \d+\.\d s\)\n"

MODULE = [sys.executable, "-W", "error", "-m", "gracefulexitcmd"]


def _run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MODULE, *arguments], capture_output=True, text=True, **options)


@contextlib.contextmanager
def _started(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start the shell form of a command, and yield it when the command is ready."""
    with subprocess.Popen(
        [*MODULE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        yield process


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -USR1 $$", 128 + signal.SIGUSR1)],
    ids=["success", "failure", "killed", "another signal"],
)
def test_exit_status_is_that_of_command(script: str, status: int) -> None:
    ended = _run("--", "sh", "-c", script)
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "", "")


def test_streams_are_those_of_command() -> None:
    ended = _run("--", "sh", "-c", "cat; echo oops >&2", input="text")
    assert (ended.stdout, ended.stderr) == ("text", "oops\n")


@pytest.mark.parametrize("arguments", [["--"], []], ids=["after the dashes", "without dashes"])
def test_options_of_command_are_passed_on(arguments: list[str]) -> None:
    ended = _run(*arguments, "echo", "--grace", "5", "--", "-x")
    assert ended.stdout == "--grace 5 -- -x\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_stops_command_gracefully(program: Callable[..., list[str]], number: signal.Signals) -> None:
    """The trap runs, and the exit status is that of a process ended by the signal."""
    with _started("--", *program("trap.sh", "0")) as process:
        process.send_signal(number)
        output, errors = process.communicate()
    assert (process.returncode, output, errors) == (128 + number, "trapped\n", "")


@pytest.mark.parametrize("number", main_module.OTHER_SIGNALS, ids=lambda number: number.name)
def test_other_signals_are_passed_on(number: signal.Signals) -> None:
    script = f"trap 'echo got; exit 7' {number.name[3:]}; echo ready >&2; while :; do :; done"
    with _started("--", "sh", "-c", script) as process:
        process.send_signal(number)
        output, errors = process.communicate()
    assert (process.returncode, output, errors) == (7, "got\n", "")


@pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0, reason="only root makes PID namespaces, and Linux alone"
)
def test_pid_1_reaps_orphans_and_passes_signals_on() -> None:
    """An ended orphan leaves no zombie, and signals to the first process reach the command."""
    script = (
        "trap 'echo got; exit 7' USR1; (setsid sh -c 'sleep 1000 & echo $! >&2; exec true' &); "
        "read pid; kill $pid; while [ -e /proc/$pid ]; do :; done; echo ready >&2; while :; do :; done"
    )
    inside = ["unshare", "--pid", "--fork", "--mount-proc", *MODULE, "--", "sh", "-c", script]
    with subprocess.Popen(
        inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(process.stderr.readline())
        process.stdin.close()
        assert process.stderr.readline() == "ready\n"
        (first,) = psutil.Process(process.pid).children()
        first.send_signal(signal.SIGUSR1)
        assert process.wait() == 7


KILLED = (
    r"gracefulexitcmd: killed at once: {}\n"
    r"gracefulexitcmd: ended by SIGKILL: .*ignore_term\.py \(pid \d+\): it ignored SIGTERM\n"
)


def test_second_ctrl_c_kills_at_once_and_is_reported(program: Callable[..., list[str]]) -> None:
    """It counts from one second after the request. The test repeats it until it counts."""
    with _started("--grace", "1h", "--", *program("ignore_term.py")) as process:
        process.terminate()
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        assert process.stderr is not None
        errors = process.stderr.read()
    assert process.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM), "the system delivers them in any order"
    assert re.fullmatch(KILLED.format("second Ctrl-C"), errors)


def test_sigquit_kills_at_once_and_is_reported(program: Callable[..., list[str]]) -> None:
    with _started("--grace", "1h", "--", *program("ignore_term.py")) as process:
        process.send_signal(signal.SIGQUIT)
        _, errors = process.communicate()
    assert process.returncode == 128 + signal.SIGQUIT
    assert re.fullmatch(KILLED.format("SIGQUIT"), errors)


def test_killed_processes_are_named(program: Callable[..., list[str]]) -> None:
    with _started("--grace", "1h", "--", *program("leader_obeys.sh")) as process:
        (leader,) = psutil.Process(process.pid).children()
        process.terminate()
        while lives(leader):
            """It obeys."""
        process.send_signal(signal.SIGQUIT)
        _, errors = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert re.search(r"gracefulexitcmd: ended by SIGKILL: .+ \(pid \d+\): it ignored SIGTERM\n", errors)


def test_timeout_ends_command_and_gives_reason() -> None:
    """The reason is on stderr."""
    ended = _run("--timeout", "0.1", "--", "sleep", "1000")
    assert ended.returncode == 128 + signal.SIGTERM
    assert re.fullmatch(TIMED_OUT, ended.stderr)


def test_command_ignoring_timeout_is_killed() -> None:
    ignoring = ["sh", "-c", 'trap "" TERM; exec sleep 1000']
    argv = [*MODULE, "--timeout", "1s", "--grace", "0", "--", *ignoring]
    ended = subprocess.run(argv, capture_output=True, text=True)
    assert ended.returncode == 128 + signal.SIGKILL
    killed = r"gracefulexitcmd: ended by SIGKILL: .*sleep.* \(pid \d+\): it ignored SIGTERM\n"
    assert re.fullmatch(TIMED_OUT + killed, ended.stderr)


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["no-such-program"], 127, "no-such-program: No such file or directory"),
        (["/no/such/program"], 127, "/no/such/program: No such file or directory"),
        (["/"], 126, "/: Permission denied"),
    ],
)
def test_unrunnable_command_is_reported(argv: list[str], status: int, message: str) -> None:
    ended = _run("--", *argv)
    assert (ended.returncode, ended.stderr) == (status, f"gracefulexitcmd: cannot run {message}\n")


@pytest.mark.skipif(sys.platform != "linux", reason="only there orphans come to it, and proc(5) tells of its handlers")
def test_orphans_are_reaped_without_interrupting_handlers() -> None:
    """The command is its child, and waits until an ended orphan is not its child any more."""
    waits = """
        (setsid sh -c 'exit 0' & echo $! >&3) 3>&1 | { read orphan
        while [ -e /proc/$orphan ]; do :; done; }
        grep SigCgt "/proc/$PPID/status"
    """
    ended = _run("--", "sh", "-c", waits)
    assert ended.returncode == 0
    caught = int(ended.stdout.split()[1], 16)
    assert caught & 1 << (signal.SIGTERM - 1)
    assert not caught & 1 << (signal.SIGCHLD - 1)


def test_file_without_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\0")
    (tmp_path / "file").chmod(0o755)
    ended = _run("--", str(tmp_path / "file"))
    assert (ended.returncode, ended.stderr) == (
        126,
        f"gracefulexitcmd: cannot run {tmp_path}/file: Exec format error\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no command: put it after --"),
        (["--"], "no command: put it after --"),
        (["--grace", "soon", "--", "true"], '"soon" is not a duration: write for example 30s'),
        (["--grace", "-1", "--", "true"], '"-1" is not a duration'),
        (["--timeout=-1", "--", "true"], '"-1" is not a duration'),
        (["--timeout", "0", "--", "true"], "leave the option out for no limit"),
        (["--patience", "5", "--", "true"], "--patience"),
        (["--gra", "5", "--", "true"], "--gra"),
    ],
)
def test_wrong_usage_is_explained(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main_module.main(arguments)
    assert error.value.code == 2
    errors = capsys.readouterr().err
    assert "usage: python -m gracefulexitcmd" in errors
    assert message in errors


def test_help_has_a_working_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main_module.main(["--help"])
    assert error.value.code == 0
    example = re.search(r"example:\n  python (-m gracefulexitcmd .* --) make deploy", capsys.readouterr().out)
    assert example is not None
    assert subprocess.run([sys.executable, *shlex.split(example[1]), "true"]).returncode == 0


def test_sigterm_takes_effect_even_if_ignored_by_parent() -> None:
    """Its parent may ignore it, as `env --ignore-signal=TERM` does."""
    script = 'trap "echo asked; exit 0" TERM; echo ready; while :; do sleep 0.02; done'
    argv = ["sh", "-c", 'trap "" TERM; exec "$@"', "sh", *MODULE, "--", "sh", "-c", script]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "asked\n"
    assert process.returncode == 128 + signal.SIGTERM


def test_ignored_signal_stays_ignored(program: Callable[..., list[str]]) -> None:
    """nohup(1) sets SIGHUP to be ignored in the command and its children."""
    argv = ["nohup", *MODULE, "--", *program("trap.sh", "0")]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while process.stderr.readline() != "ready\n":
            continue
        process.send_signal(signal.SIGHUP)
        process.terminate()
        output, _ = process.communicate()
    assert (process.returncode, output) == (128 + signal.SIGTERM, "trapped\n")


def test_command_on_a_terminal_has_no_input() -> None:
    """The command runs in the background, and a read from the terminal would stop it."""
    ours, theirs = os.openpty()
    ended = _run("--", "cat", stdin=theirs, timeout=20)
    os.close(ours)
    os.close(theirs)
    assert (ended.returncode, ended.stdout) == (0, "")
