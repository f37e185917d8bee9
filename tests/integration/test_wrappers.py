"""Below ordinary parents one request to stop is one request: what they forward, or send twice, takes no grace.

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
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.absent import absent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

if sys.platform == "win32":
    pytest.skip("signals of POSIX", allow_module_level=True)

COPIES = {"gracefulexitcmd": 20, "run": 5, "ci": 5}

CLEANS_UP = "trap '' HUP; trap 'sleep 0.5; echo cleaned; exit' TERM; echo ready; while :; do sleep 0.01; done"

BLOCKING = (
    "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]);"
    " os.execvp(sys.argv[1], sys.argv[1:])"
)


@pytest.fixture(params=COPIES)
def kind(request: pytest.FixtureRequest) -> str:
    """Which of our programs it is."""
    name: str = request.param
    return name


@pytest.fixture
def command(kind: str, tmp_path: Path, temporary: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The program with the script."""
    steps = [{"name": "work", "script": CLEANS_UP}]
    (tmp_path / "run.yml").write_text("{}\n---\n" + json.dumps({"run": steps}))
    monkeypatch.setenv("STEPS", json.dumps(steps))
    monkeypatch.delenv("CI_PROJECT_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    python = (sys.executable, "-m")
    return {
        "gracefulexitcmd": (*python, "gracefulexitcmd", "--", "sh", "-c", CLEANS_UP),
        "run": (*python, "step_runner", "run", "run.yml"),
        "ci": (*python, "step_runner", "ci"),
    }.get(kind, ())


@contextlib.contextmanager
def _running(argv: Sequence[str], number: int) -> Iterator[list[subprocess.Popen[str]]]:
    """So many copies, each in a process group of its own, when all are ready."""
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
            assert copy.stdout is not None
            assert copy.stdout.readline() == "ready\n"
        yield copies


def _output(copies: list[subprocess.Popen[str]]) -> list[str]:
    """What each has written since it was ready; the end of a wrapper does not end its output."""
    return [copy.stdout.read() for copy in copies if copy.stdout is not None]


def _timeout(argv: tuple[str, ...], _: Path) -> tuple[str, ...]:
    return "timeout", "600", *argv


def _env(argv: tuple[str, ...], _: Path) -> tuple[str, ...]:
    return "env", "sh", "-c", f"{shlex.join(argv)}; exit $?"


def _make(argv: tuple[str, ...], directory: Path) -> tuple[str, ...]:
    (directory / "recipe").write_text(f"exec {shlex.join(argv)}\n")
    (directory / "Makefile").write_text("all:\n\t@exec sh recipe\n")
    return ("make",)


def _uv(argv: tuple[str, ...], _: Path) -> tuple[str, ...]:
    return os.path.join(os.path.dirname(sys.executable), "uv"), "run", "--no-project", *argv


WRAPPERS: dict[str, Callable[[tuple[str, ...], Path], tuple[str, ...]]] = {
    "timeout": _timeout,
    "make": _make,
    "sh": _env,
    "uv": _uv,
}


@pytest.mark.parametrize("kind", ["gracefulexitcmd", "run"], indirect=True)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_grace_is_kept_below(wrapper: str, command: tuple[str, ...], kind: str, tmp_path: Path) -> None:
    argv = WRAPPERS[wrapper](command, tmp_path)
    if shutil.which(argv[0]) is None:
        absent(f"{argv[0]} is needed")
    with _running(argv, COPIES[kind]) as copies:
        for copy in copies:
            os.killpg(copy.pid, signal.SIGTERM)
        assert _output(copies) == ["cleaned\n"] * len(copies)


@pytest.mark.parametrize("kind", ["gracefulexitcmd", "run"], indirect=True)
def test_sigint_that_uv_repeats_takes_no_grace(command: tuple[str, ...], kind: str, tmp_path: Path) -> None:
    """Where it has no terminal it forwards SIGINT after 200 ms, although the group has had it."""
    argv = _uv(command, tmp_path)
    if shutil.which(argv[0]) is None:
        absent("uv is needed")
    with _running(argv, COPIES[kind]) as copies:
        for copy in copies:
            os.killpg(copy.pid, signal.SIGINT)
        assert _output(copies) == ["cleaned\n"] * len(copies)


@pytest.mark.parametrize("kind", ["gracefulexitcmd", "run", "ci"], indirect=True)
def test_grace_is_kept_when_all_get_three_signals(command: tuple[str, ...], kind: str) -> None:
    """As systemd with `SendSIGHUP=yes` does to a whole control group: all processes of ours are in it."""
    with _running(command, COPIES[kind]) as copies:
        for copy in copies:
            ours = [copy.pid, *(child.pid for child in psutil.Process(copy.pid).children() if _is_ours(child))]
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCONT):
                for pid in ours:
                    os.kill(pid, number)
        assert _output(copies) == ["cleaned\n"] * len(copies)


def _is_ours(process: psutil.Process) -> bool:
    return "step_runner" in process.cmdline()


@pytest.mark.parametrize("kind", ["gracefulexitcmd", "run", "ci"], indirect=True)
def test_blocked_signal_is_heard_by_program_and_command(command: tuple[str, ...], kind: str) -> None:
    """Whoever started it has blocked SIGTERM, as a daemon does that uses sigwait, or `env --block-signal`."""
    with _running((sys.executable, "-c", BLOCKING, *command), 1) as (process,):
        process.terminate()
        assert _output([process]) == ["cleaned\n"]
    assert process.returncode == 128 + signal.SIGTERM


def test_server_hears_a_signal_that_was_blocked(temporary: str) -> None:
    argv = (sys.executable, "-c", BLOCKING, sys.executable, "-m", "step_runner", "serve", "--socket", f"{temporary}/s")
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        assert "listening" in server.stderr.readline()
        server.terminate()
        assert server.wait() == 0
