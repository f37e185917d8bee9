"""The start of a command: its environment, directory, group, descriptors and user."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from gracefulexitcmd import PIPE, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commands import Start, Wait


def test_files_are_passed_to_command(start: Start, wait: Wait, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        ended = wait(start(["echo", "text"], stdout=file))
    assert ended.stdout is None
    assert (tmp_path / "out").read_bytes() == b"text\n"


def test_environment_and_directory_are_those_of_command(start: Start, wait: Wait, tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "COLOUR": "blue"}
    ended = wait(start(["sh", "-c", 'echo "$COLOUR"; pwd; env | wc -l'], env=env, cwd=tmp_path, stdout=PIPE))
    assert ended.stdout is not None
    colour, directory, count = ended.stdout.decode().split()
    assert (colour, directory) == ("blue", os.fspath(tmp_path.resolve()))
    assert int(count) <= 4, "PATH, COLOUR, and PWD and OLDPWD, which the shell sets"


def test_changes_of_own_variables_reach_the_next_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most starts pass the same variables, so these are prepared once."""

    def seen() -> list[str]:
        ended = run(["env"], text=True, check=True)
        return sorted(line for line in (ended.stdout or "").splitlines() if line.startswith("GRACE_TEST"))

    assert seen() == []
    monkeypatch.setenv("GRACE_TEST_A", "1")
    monkeypatch.setenv("GRACE_TEST_B", "ü")
    assert seen() == ["GRACE_TEST_A=1", "GRACE_TEST_B=ü"]
    monkeypatch.setenv("GRACE_TEST_A", "2")
    assert seen() == ["GRACE_TEST_A=2", "GRACE_TEST_B=ü"]
    monkeypatch.delenv("GRACE_TEST_B")
    assert seen() == ["GRACE_TEST_A=2"]


def test_command_leads_its_own_process_group(start: Start, wait: Wait) -> None:
    command = start(["sh", "-c", "ps -o pgid= -p $$"], stdout=PIPE)
    ended = wait(command)
    assert ended.stdout is not None
    assert int(ended.stdout) == command.pid != os.getpgrp()


def test_command_inherits_passed_descriptors(tmp_path: Any) -> None:
    with open(tmp_path / "file", "w+b") as file:
        run(["bash", "-c", f"echo x >&{file.fileno()}"], pass_fds=[file.fileno()], check=True)
        file.seek(0)
        assert file.read() == b"x\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_command_may_run_as_another_user() -> None:
    ended = run(
        ["sh", "-c", "id -u; id -g; id -G; umask"], user=65534, group=65534, extra_groups=[], umask=0o27, text=True
    )
    assert ended.stdout == "65534\n65534\n65534\n0027\n"
