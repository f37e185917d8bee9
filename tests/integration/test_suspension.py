"""Ctrl-Z in a shell with job control: it stops all processes, SIGCONT continues them, and no timeout runs meanwhile."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support import steps
from tests.support.absent import absent
from tests.support.living import lives
from tests.support.shell import PROMPT, Shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

if sys.platform == "win32":
    pytest.skip("no job control", allow_module_level=True)

PORTABLE = Path(__file__).parents[1] / "programs" / "portable.py"

KINDS = ("run", "ci", "gracefulexitcmd")

CLEANS_UP = "trap 'echo cleaning; read line < fifo; echo cleaned > cleaned; exit' TERM; echo ready; while :; do :; done"
"""A script that ends its cleanup after a line in a FIFO."""


@pytest.fixture
def shell(tmp_path: Path, temporary: str) -> Iterator[Shell]:
    if shutil.which("bash") is None:
        absent("bash")
    os.mkfifo(tmp_path / "fifo")
    shell = Shell(tmp_path)
    yield shell
    shell.close()


@pytest.fixture(params=KINDS)
def start(request: pytest.FixtureRequest, shell: Shell, tmp_path: Path) -> Callable[..., None]:
    """Return a function that starts a script with one of our commands and these options."""

    def start(script: str, *options: str) -> None:
        (tmp_path / "script").write_text(script)
        python = (sys.executable, "-m")
        work = [{"name": "work", "script": "exec sh script"}]
        (tmp_path / "run.yml").write_text(steps.run_list(*work))
        grace = options[options.index("--grace") + 1] if "--grace" in options else "30"
        match request.param:
            case "run":
                timeout = [f"--timeout={options[options.index('--timeout') + 1]}"] if "--timeout" in options else []
                shell.start(*python, "step_runner", "run", "run.yml", "--graceful-exit-delay", f"{grace}s", *timeout)
            case "one process":
                shell.start(sys.executable, str(PORTABLE), "run", "run.yml")
            case "ci":
                if "--timeout" in options:
                    pytest.skip("ci has no timeout of its own")
                os.environ.pop("CI_PROJECT_DIR", None)
                run = (*python, "step_runner", "ci", "--graceful-exit-delay", f"{grace}s")
                shell.start("env", f"STEPS={json.dumps(work)}", *run)
            case _:
                shell.start(*python, "gracefulexitcmd", *options, "--", "sh", "script")

    return start


@pytest.fixture(params=range(3))
def attempt(request: pytest.FixtureRequest) -> int:
    """Repeat a test in which signals race."""
    number: int = request.param
    return number


def _states(processes: list[psutil.Process]) -> set[str]:
    return {process.status() for process in processes}


@pytest.mark.parametrize("start", [*KINDS, "one process"], indirect=True)
def test_ctrl_z_stops_and_fg_continues_everything(start: Callable[..., None], shell: Shell) -> None:
    """It stops the program, its worker, and the processes of the job, even in another session or ignoring SIGTSTP."""
    start(
        "trap '' TSTP; setsid sleep 1000 & sleep 1000 & trap 'echo cleaned; exit' TERM; echo ready; while :; do :; done"
    )
    assert len(shell.processes()) >= 3
    assert _states(shell.suspend()) == {psutil.STATUS_STOPPED}
    shell.type("fg\n")
    while psutil.STATUS_STOPPED in _states(shell.processes()):
        time.sleep(0.01)
    shell.type("\x03")
    shell.read_until(rb"cleaned\r\n.*" + PROMPT)
    assert shell.processes() == []


def test_suspension_does_not_shorten_grace_period(start: Callable[..., None], shell: Shell, tmp_path: Path) -> None:
    """A suspension within the grace period, and longer than it, does not shorten it."""
    start(CLEANS_UP, "--grace", "4")
    shell.type("\x03")
    shell.read_until(rb"cleaning\r\n")
    shell.suspend()
    time.sleep(4.5)
    shell.type("fg\n")
    (tmp_path / "fifo").write_text("go on\n")
    written = shell.read_until(PROMPT)
    assert (tmp_path / "cleaned").exists()
    assert b"SIGKILL" not in written
    assert b"ignored" not in written


def test_suspension_does_not_shorten_timeout(start: Callable[..., None], shell: Shell, tmp_path: Path) -> None:
    start("echo ready; read line < fifo; echo went on", "--timeout", "4")
    shell.suspend()
    time.sleep(4.5)
    shell.type("fg\n")
    (tmp_path / "fifo").write_text("go on\n")
    shell.read_until(rb"went on\r\n.*" + PROMPT)


@pytest.mark.usefixtures("attempt")
def test_closing_the_terminal_while_suspended_stops_gracefully(
    start: Callable[..., None], shell: Shell, tmp_path: Path
) -> None:
    """The kernel sends SIGHUP and SIGCONT to a stopped process group that loses its shell, setpgid(2)."""
    start("trap 'echo cleaned > cleaned; exit' TERM; echo ready; while :; do :; done")
    processes = shell.suspend()
    shell.hang_up()
    while any(map(lives, processes)):
        time.sleep(0.01)
    assert (tmp_path / "cleaned").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_while_suspended_stops_gracefully_with_sigcont(
    start: Callable[..., None], shell: Shell, tmp_path: Path, number: signal.Signals
) -> None:
    """timeout(1), systemd and the `kill` of bash send SIGCONT after the signal."""
    start("trap 'echo cleaned > cleaned; exit' TERM; echo ready; while :; do :; done")
    processes = shell.suspend()
    group = psutil.Process(shell.pid).children()[0].pid
    for each in (number, signal.SIGCONT):
        os.killpg(group, each)
    while any(map(lives, processes)):
        time.sleep(0.01)
    assert (tmp_path / "cleaned").exists()


@pytest.mark.parametrize("kind", ["run", "gracefulexitcmd"])
def test_random_suspensions_never_block_graceful_stop(kind: str, tmp_path: Path, temporary: str) -> None:
    """After any random sequence of both, SIGTERM and SIGCONT stop it gracefully."""
    script = "trap 'echo cleaned; exit' TERM; echo ready; while :; do sleep 0.01; done"
    (tmp_path / "run.yml").write_text(steps.script(script))
    arguments = {
        "run": ["step_runner", "run", str(tmp_path / "run.yml")],
        "gracefulexitcmd": ["gracefulexitcmd", "--", "sh", "-c", script],
    }[kind]
    seed = random.randrange(1000)
    chance = random.Random(seed)
    with subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        process_group=0,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(40):
            process.send_signal(chance.choice([signal.SIGTSTP, signal.SIGTSTP, signal.SIGCONT]))
            time.sleep(chance.choice([0, 0, 0.001, 0.005, 0.02]) * chance.random())
        for number in chance.choice([(signal.SIGCONT, signal.SIGTERM), (signal.SIGTERM, signal.SIGCONT)]):
            process.send_signal(number)
        assert process.stdout.read() == "cleaned\n", f"seed {seed}"


@pytest.mark.usefixtures("attempt")
def test_closing_the_terminal_stops_gracefully(start: Callable[..., None], shell: Shell, tmp_path: Path) -> None:
    """The kernel and the shell both send SIGHUP, at nearly the same time."""
    start("trap 'sleep 0.5; echo cleaned > cleaned; exit' TERM; echo ready; while :; do :; done")
    processes = shell.processes()
    shell.hang_up()
    while any(map(lives, processes)):
        time.sleep(0.01)
    assert (tmp_path / "cleaned").exists()


def test_stopped_process_stays_stopped_after_suspension(start: Callable[..., None], shell: Shell) -> None:
    stops = ["sh", "-c", "kill -STOP $$"]
    start(f"{shlex.join(stops)} & until grep -q '^State:.T' /proc/$!/status; do :; done; echo ready; read line < fifo")
    (own,) = (one for one in shell.suspend() if one.cmdline() == stops)
    shell.type("fg\n")
    shell.read_until(b"fg\r\n")
    (reader,) = (one for one in shell.processes() if one.cmdline() == ["sh", "script"])
    while reader.status() == psutil.STATUS_STOPPED:
        time.sleep(0.01)
    assert own.status() == psutil.STATUS_STOPPED
    shell.type("\x03")
    shell.read_until(PROMPT)


@pytest.mark.parametrize("start", ["run", "ci"], indirect=True)
def test_killed_supervisor_in_suspension_leaves_nothing(
    start: Callable[..., None], shell: Shell, tmp_path: Path
) -> None:
    start("trap 'echo cleaned > cleaned; exit' TERM; echo ready; while :; do :; done")
    processes = shell.suspend()
    os.kill(psutil.Process(shell.pid).children()[0].pid, signal.SIGKILL)
    while any(map(lives, processes)):
        time.sleep(0.01)
    assert (tmp_path / "cleaned").exists()


def test_inner_program_is_suspended_with_its_clock(start: Callable[..., None], shell: Shell, tmp_path: Path) -> None:
    """The timeout of a `gracefulexitcmd` inside the command does not run either."""
    inner = f"'{sys.executable}' -m gracefulexitcmd --timeout 4 -- sh -c 'echo ready; read line < fifo; echo went on'"
    start(inner)
    shell.suspend()
    time.sleep(4.5)
    shell.type("fg\n")
    (tmp_path / "fifo").write_text("go on\n")
    shell.read_until(rb"went on\r\n.*" + PROMPT)
