"""`builtin://script_legacy`: the `script:` of a whole job."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PLAIN = {"posix_escape": True}


class Ended(NamedTuple):
    """The exit status, the output of the commands, and the text on stderr."""

    status: int
    output: str
    errors: str


def job(script: object, inputs: dict[str, Any]) -> str:
    call = {"name": "job", "func": "builtin://script_legacy", "inputs": {"script": script, **inputs}}
    return f"{{}}\n---\nrun: [{json.dumps(call)}]\n"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ended]:
    """Runs commands in an empty directory."""

    def run(*script: str, env: dict[str, str] | None = None, variables: tuple[str, ...] = (), **inputs: Any) -> Ended:
        (tmp_path / "func.yml").write_text(job(list(script), inputs))
        command = [sys.executable, "-m", "step_runner", "run", "./func.yml", *variables]
        ended = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **(env or {})}, capture_output=True, check=False
        )
        return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    return run


def test_commands_share_one_session_and_are_shown(run: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    ended = run("cd there", "X=1", "", "echo $X  # it's", 'echo "$PWD"', **PLAIN)
    shown = f'$ cd there\n$ X=1\n\n$ echo $X  # it\'s\n1\n$ echo "$PWD"\n{tmp_path}/there\n'
    assert (ended.status, ended.output) == (0, shown)


def test_command_is_shown_in_green_without_posix_escape(run: Callable[..., Ended]) -> None:
    assert run("echo a").output == "\033[32;1m$ echo a\033[0;m\na\n"


@pytest.mark.parametrize(
    ("failing", "status"), [("false", 1), ("(exit 7)", 7), ("false | true", 1), ("nowhere", 127)], ids=str
)
def test_first_failing_command_ends_job(run: Callable[..., Ended], failing: str, status: int) -> None:
    ended = run("echo a", failing, "echo never", **PLAIN)
    assert (ended.status, ended.output) == (status, f"$ echo a\na\n$ {failing}\n")
    assert ended.errors.endswith(f"exec: exit status {status}\n")


def test_error_checks_work_after_set_plus_e(run: Callable[..., Ended]) -> None:
    script = ("set +e", "(exit 7)", "echo next")
    assert run(*script, check_for_errors=True, **PLAIN)[:2] == (7, "$ set +e\n$ (exit 7)\n")
    assert run(*script, **PLAIN).status == 0


def test_trace_shows_only_commands_of_the_script(run: Callable[..., Ended]) -> None:
    script = ("X=1", "echo $X\necho b")
    ended = run(*script, debug_trace=True, check_for_errors=True, trace_sections=True, **PLAIN)
    traced = [line for line in ended.errors.splitlines() if line.startswith("+")]
    assert traced == ["+ X=1", "+ echo 1", "+ echo b"]


def test_command_of_several_lines_shows_first_line(run: Callable[..., Ended]) -> None:
    ended = run("for x in a b; do\n  echo $x\ndone\n", **PLAIN)
    assert ended.output == "$ for x in a b; do # collapsed multi-line command\na\nb\n"


def test_sections_hold_commands_of_several_lines(run: Callable[..., Ended]) -> None:
    ended = run("echo a", "echo b\necho c", trace_sections=True, **PLAIN)
    output = re.sub(r":\d{10,}:", ":T:", ended.output)
    name = "section_script_step_1"
    begin = f"section_start:T:{name}[hide_duration=true,collapsed=true]\r\033[0K"
    assert output == f"$ echo a\na\n{begin}$ echo b\necho c\nb\nc\nsection_end:T:{name}\r\033[0K"


@pytest.mark.parametrize("where", ["env", "variables"])
def test_variables_of_earlier_stages_are_set(run: Callable[..., Ended], tmp_path: Path, where: str) -> None:
    lines = "A=1 = one\nB=$(touch ran)\n=x\n1C=x\nno pair\nD='q'\nA=2\nE=last"
    (tmp_path / "gitlab_runner_env").write_text(lines)
    given: dict[str, Any] = {"env": {"RUNNER_TEMP_PROJECT_DIR": str(tmp_path)}}
    if where == "variables":
        given = {"variables": ("--job", f"RUNNER_TEMP_PROJECT_DIR={tmp_path}")}
    ended = run('printf "%s|" "$A" "$B" "$D" "$E"', **given, **PLAIN)
    assert ended.output.endswith("\n2|$(touch ran)|'q'|last|")
    assert not (tmp_path / "ran").exists()


def test_script_runs_without_files_of_earlier_stages(run: Callable[..., Ended], tmp_path: Path) -> None:
    assert run("echo a", env={"RUNNER_TEMP_PROJECT_DIR": str(tmp_path)}, **PLAIN).output == "$ echo a\na\n"


def test_script_runs_in_bash_or_else_in_sh(run: Callable[..., Ended]) -> None:
    assert run("echo ${BASH_VERSION:+bash}", **PLAIN).output.endswith("\nbash\n")


def test_script_longer_than_an_argument_runs(run: Callable[..., Ended], temporary: str) -> None:
    ended = run(f": {'x' * 200_000}", "echo done", **PLAIN)
    assert (ended.status, ended.output[-5:]) == (0, "done\n")
    assert [name for name in os.listdir(temporary) if "script" in name] == []


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ([], 'the input "script" is empty: give at least one command'),
        (["echo \0"], "a command holds a NUL character, which no shell can take: remove it"),
    ],
    ids=["empty", "NUL"],
)
def test_unrunnable_script_is_refused(run: Callable[..., Ended], script: list[str], complaint: str) -> None:
    ended = run(*script)
    assert (ended.status, ended.output) == (1, "")
    assert complaint in ended.errors


def test_script_is_required(run: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "func.yml").write_text("{}\n---\nrun: [{name: job, func: 'builtin://script_legacy'}]\n")
    command = [sys.executable, "-m", "step_runner", "run", "./func.yml"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 1
    assert '"script"' in ended.stderr


def test_signal_reaches_trap_of_session(tmp_path: Path) -> None:
    """The shell is the step's own process: no process of the step runner lies between."""
    script = ["trap 'echo cleaned; exit 1' TERM", "echo ready; while :; do sleep 0.02; done"]
    (tmp_path / "func.yml").write_text(job(script, PLAIN))
    command = [sys.executable, "-m", "step_runner", "run", "./func.yml"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as ran:
        assert ran.stdout is not None
        while ran.stdout.readline() != "ready\n":
            """It begins."""
        ran.send_signal(signal.SIGTERM)
        assert ran.stdout.read() == "cleaned\n"
    assert ran.returncode == 128 + signal.SIGTERM
