"""Under common parents one request to stop counts once: a signal that they forward or repeat shortens no grace period.

Each script needs half a second to clean up. Several copies run at once, because the signals race.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.absent import absent
from tests.support.cgroups import needs_cgroup
from tests.support.server import Server

from gracefulexitcmd.posix import cgroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from gracefulexitcmd.posix.cgroup import Cgroup

if sys.platform == "win32":
    pytest.skip("signals of POSIX", allow_module_level=True)

COPIES = {"gracefulexitcmd": 20, "run": 5, "ci": 5}

CLEANS_UP = "trap '' HUP; trap 'sleep 0.5; echo cleaned; exit' TERM; echo ready; while :; do sleep 0.01; done"

ENTERS = ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"')
"""Enters the control group in its first argument, then executes the command in the others."""

BLOCKING = (
    "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]);"
    " os.execvp(sys.argv[1], sys.argv[1:])"
)

FORWARDING = """
import signal, subprocess, sys
child = subprocess.Popen(sys.argv[1:])
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, lambda number, _: child.send_signal(number))
sys.exit(child.wait() % 256)
"""


@pytest.fixture(params=COPIES)
def kind(request: pytest.FixtureRequest) -> str:
    """Return the name of one of our programs."""
    name: str = request.param
    return name


@pytest.fixture
def command(kind: str, tmp_path: Path, temporary: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Return the command line of the program with the script."""
    steps = [{"name": "work", "script": CLEANS_UP}]
    (tmp_path / "run.yml").write_text("{}\n---\n" + json.dumps({"run": steps}))
    monkeypatch.setenv("STEPS", json.dumps(steps))
    for name in ("CI_PROJECT_DIR", "MAKELEVEL", "MAKEFLAGS", "MFLAGS"):  # set by a make that runs the tests
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    python = (sys.executable, "-m")
    return {
        "gracefulexitcmd": (*python, "gracefulexitcmd", "--", "sh", "-c", CLEANS_UP),
        "run": (*python, "step_runner", "run", "run.yml"),
        "ci": (*python, "step_runner", "ci"),
        "serve": (*python, "step_runner", "serve", "--socket", f"{temporary}/s"),
    }.get(kind, ())


@contextlib.contextmanager
def _running(argv: Sequence[str], number: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Start a number of copies, each in its own process group, and wait until all are ready."""
    with contextlib.ExitStack() as running:
        copies = [
            running.enter_context(
                subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    process_group=0,
                )
            )
            for _ in range(number)
        ]
        for copy in copies:
            running.callback(_kill, copy)
        for copy in copies:
            assert copy.stdout is not None
            assert copy.stdout.readline() == "ready\n"
        yield copies


def _kill(copy: subprocess.Popen[str]) -> None:
    """Kill a copy that a test has not ended."""
    if copy.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(copy.pid, signal.SIGKILL)


def _output(copies: list[subprocess.Popen[str]]) -> list[str]:
    """Return the output of each copy since it was ready; the output may continue after the end of a wrapper."""
    return [copy.stdout.read() for copy in copies if copy.stdout is not None]


def _timeout(argv: tuple[str, ...], _: Path) -> tuple[str, ...]:
    return "timeout", "600", *argv


def _env(argv: tuple[str, ...], _: Path) -> tuple[str, ...]:
    return "env", "sh", "-c", f"{shlex.join(argv)}; exit $?"


def _make(argv: tuple[str, ...], directory: Path) -> tuple[str, ...]:
    (directory / "recipe").write_text(f"exec {shlex.join(argv)}\n")
    (directory / "Makefile").write_text("all:\n\t@exec sh recipe\n")
    return ("make",)


def _make_below_make(argv: tuple[str, ...], directory: Path) -> tuple[str, ...]:
    _make(argv, directory)
    (directory / "outer").write_text("all:\n\t@$(MAKE) --no-print-directory\n")
    return "make", "-f", "outer"


def _forwarding(argv: tuple[str, ...], _: Path) -> tuple[str, ...]:
    """Forward each signal to a child that has already got it, as cross-env and other programs of node do."""
    return sys.executable, "-c", FORWARDING, *argv


def _uv(argv: tuple[str, ...], _: Path) -> tuple[str, ...]:
    return os.path.join(os.path.dirname(sys.executable), "uv"), "run", "--no-project", *argv


WRAPPERS: dict[str, Callable[[tuple[str, ...], Path], tuple[str, ...]]] = {
    "timeout": _timeout,
    "make": _make,
    "make below make": _make_below_make,
    "forwarding": _forwarding,
    "sh": _env,
    "uv": _uv,
}


@pytest.mark.parametrize("kind", ["gracefulexitcmd", "run"], indirect=True)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapper_keeps_grace_period(wrapper: str, command: tuple[str, ...], kind: str, tmp_path: Path) -> None:
    argv = WRAPPERS[wrapper](command, tmp_path)
    if shutil.which(argv[0]) is None:
        absent(argv[0])
    with _running(argv, COPIES[kind]) as copies:
        for copy in copies:
            os.killpg(copy.pid, signal.SIGTERM)
        assert _output(copies) == ["cleaned\n"] * len(copies)


@pytest.mark.parametrize("kind", ["gracefulexitcmd", "run"], indirect=True)
def test_sigint_repeated_by_uv_keeps_grace_period(command: tuple[str, ...], kind: str, tmp_path: Path) -> None:
    """Without a terminal uv forwards SIGINT after 200 ms, although the process group has already got it."""
    argv = _uv(command, tmp_path)
    if shutil.which(argv[0]) is None:
        absent("uv")
    with _running(argv, COPIES[kind]) as copies:
        for copy in copies:
            os.killpg(copy.pid, signal.SIGINT)
        assert _output(copies) == ["cleaned\n"] * len(copies)


@pytest.mark.parametrize("kind", ["gracefulexitcmd", "run", "ci"], indirect=True)
def test_three_signals_to_all_keep_grace_period(command: tuple[str, ...], kind: str) -> None:
    """systemd with `SendSIGHUP=yes` sends three signals to all processes of a control group."""
    with _running(command, COPIES[kind]) as copies:
        for copy in copies:
            ours = [copy.pid, *(child.pid for child in psutil.Process(copy.pid).children() if _is_ours(child))]
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCONT):
                for pid in ours:
                    os.kill(pid, number)
        assert _output(copies) == ["cleaned\n"] * len(copies)


@needs_cgroup
@pytest.mark.parametrize("kind", ["gracefulexitcmd", "run", "ci"], indirect=True)
def test_stopped_control_group_keeps_grace_period(command: tuple[str, ...], kind: str, unit: Cgroup) -> None:
    """systemd with `SendSIGHUP=yes` sends three signals to all processes of a unit, also to those of the step."""
    with _running((*ENTERS, unit.path, *command), COPIES[kind]) as copies:
        _stop_as_systemd(unit)
        assert _output(copies) == ["cleaned\n"] * len(copies)


@needs_cgroup
def test_stopped_group_of_server_keeps_grace_of_jobs(unit: Cgroup, temporary: str) -> None:
    """A stop of the control group that holds the server leaves each job its grace period."""
    server = Server(temporary, (*ENTERS, unit.path))
    try:
        server.start(CLEANS_UP, delay=30)
        chunks = server.client.follow("1")
        assert b"ready\n" in next(chunk for chunk in chunks if b"ready" in chunk)
        _stop_as_systemd(unit)
        assert b"cleaned\n" in b"".join(chunks)
        assert server.runner.supervisor.wait() == 0
    finally:
        server.close()


@pytest.fixture
def unit() -> Iterator[Cgroup]:
    """Make a control group like that of a unit, and remove it at the end."""
    made = cgroup.make(f"unit{time.monotonic_ns()}")
    assert made is not None
    yield made
    assert made.remove()


def _stop_as_systemd(unit: Cgroup) -> None:
    for number in (signal.SIGTERM, signal.SIGCONT, signal.SIGHUP):
        for pid in unit.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _is_ours(process: psutil.Process) -> bool:
    return "step_runner" in process.cmdline()


@pytest.mark.parametrize("kind", ["gracefulexitcmd", "run", "ci"], indirect=True)
def test_blocked_sigterm_reaches_program_and_command(command: tuple[str, ...], kind: str) -> None:
    """A parent that blocks SIGTERM, such as a daemon with sigwait or `env --block-signal`, does not block the stop."""
    with _running((sys.executable, "-c", BLOCKING, *command), 1) as (process,):
        process.terminate()
        assert _output([process]) == ["cleaned\n"]
    assert process.returncode == 128 + signal.SIGTERM


def test_server_handles_sigterm_that_its_parent_blocked(temporary: str) -> None:
    argv = (sys.executable, "-c", BLOCKING, sys.executable, "-m", "step_runner", "serve", "--socket", f"{temporary}/s")
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        assert "listening" in server.stderr.readline()
        server.terminate()
        assert server.wait() == 0


WAITS_WHEN_FORKED = """
import os, sys
def wait():
    sys.stdout.write("forked\\n")
    sys.stdout.flush()
    open("go on").read()
os.register_at_fork(after_in_child=wait)
"""


@pytest.mark.parametrize("kind", ["run", "ci", "serve"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_stop_before_first_step_reports_no_running_step(
    command: tuple[str, ...], number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its start the worker has no handlers. No step has run by then, and the message names no job."""
    (tmp_path / "sitecustomize.py").write_text(WAITS_WHEN_FORKED)
    os.mkfifo(tmp_path / "go on")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "forked\n"
        os.killpg(process.pid, number)
        (tmp_path / "go on").write_text("")
        out, err = process.communicate()
    assert (process.returncode, out) == (128 + number, "")
    assert err.splitlines()[-1] == f"Error: stopped by {number.name}: no step was running"
