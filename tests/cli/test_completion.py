"""`step-runner completion`, as real shells use it at Tab."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.absent import absent
from tests.support.here import step_runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cli.conftest import Server

    Type = Callable[[str], str]

PROMPT = "PROMPT> "

NOISE = re.compile(r"[\a\r\0]|\x1b\[[\d;?]*[A-Za-z]")
"""The bell, and what moves the cursor."""

START = {
    "bash": ("bash", "--norc", "--noprofile", "-i"),
    "zsh": ("zsh", "-f", "-i"),
}

SETUP = {
    "bash": "bind 'set enable-bracketed-paste off'; source <(step-runner completion bash)",
    "zsh": "autoload -U compinit; compinit -u; source <(step-runner completion zsh)",
}

HELLO = """\
spec: {inputs: {name: {type: string, description: The name to greet}, number: {type: number}}}
---
exec: {command: ["true"]}
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a function, whose PATH has `step-runner`."""
    (tmp_path / "hello.yml").write_text(HELLO)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/step-runner"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m step_runner "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Shell:
    """An interactive shell on a terminal of its own, with the completion loaded."""

    def __init__(self, name: str) -> None:
        if shutil.which(name) is None:
            absent(name)
        self._text = ""
        self._descriptor, inside = pty.openpty()
        environment = {**os.environ, "PS1": PROMPT, "TERM": "dumb", "HISTFILE": "/dev/null"}
        self._process = subprocess.Popen(
            START[name], stdin=inside, stdout=inside, stderr=inside, env=environment, start_new_session=True
        )
        os.close(inside)
        self._write(f"PS1='{PROMPT}'; {SETUP[name]}; printf 'LOAD%s\\n' ED\n")
        self._read_until("LOADED")
        self._read_until(PROMPT)

    def completed(self, line: str, until: str) -> str:
        """Type a line and Tab; return the line as soon as it holds `until`."""
        self._write(f"{line}\t")
        return self._read_until(until)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._descriptor)

    def _write(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def _read_until(self, text: str) -> str:
        while text not in self._text:
            self._text += os.read(self._descriptor, 4096).decode(errors="replace")
            self._text = NOISE.sub("", self._text)
        before, _, self._text = self._text.partition(text)
        return before + text


@pytest.fixture(params=["bash", "zsh"])
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    with contextlib.closing(Shell(request.param)) as shell:
        yield shell


def fish(line: str) -> list[str]:
    """Return the completions of fish for a line."""
    if shutil.which("fish") is None:
        absent("fish")
    script = 'step-runner completion fish | source; complete --do-complete "$argv[1]"'
    ended = subprocess.run(["fish", "--no-config", "-c", script, line], capture_output=True, text=True, check=True)
    return ended.stdout.splitlines()


def test_shell_completes_commands(shell: Shell) -> None:
    assert "step-runner cancel " in shell.completed("step-runner can", "cancel ")


def test_shell_completes_inputs_of_a_function(shell: Shell) -> None:
    """No blank comes after `=`: the value follows."""
    shell.completed("step-runner run hello.yml --inputs na", "--inputs name=")
    assert shell.completed("Ada", "Ada") == "Ada"


def test_shell_completes_files(shell: Shell) -> None:
    shell.completed("step-runner check hel", "hello.yml")


def test_shell_completes_ids_of_jobs(shell: Shell, server: Server, step_file: Callable[..., Path]) -> None:
    server.started(step_file("echo ready"), "deploy-7")
    shell.completed(f"STEP_RUNNER_SOCKET={server.path} true; step-runner logs --socket {server.path} dep", "deploy-7 ")


def test_fish_completes_commands_inputs_files_and_ids(server: Server, step_file: Callable[..., Path]) -> None:
    """Each word is offered with its description."""
    server.started(step_file("echo ready"), "deploy-7")
    list(server.client.follow("deploy-7"))
    assert [line.partition("\t")[0] for line in fish("step-runner can")] == ["cancel"]
    assert fish("step-runner run hello.yml --inputs na") == ["name=\tThe name to greet"]
    assert [line.partition("\t")[0] for line in fish("step-runner check hel")] == ["hello.yml"]
    assert fish(f"step-runner logs --socket {server.path} dep") == ["deploy-7\tsuccess"]


def test_completion_is_silent_without_candidates(temporary: str) -> None:
    """No server, no such function: nothing is offered, and nothing is printed."""
    for words in ("step-runner logs", "step-runner run absent.yml --inputs", "step-runner run a/b --inputs"):
        environment = {**os.environ, "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()))}
        ended = subprocess.run(
            [sys.executable, "-m", "step_runner"],
            env={**environment, "_STEP_RUNNER_COMPLETE": "bash_complete"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.stdout, ended.stderr) == ("\n", "")


def test_unknown_shell_is_refused() -> None:
    assert step_runner("completion", "tcsh").stderr.startswith("Error: Invalid value for '{bash|zsh|fish}'")
