from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Server, Terminal

    Command = Callable[..., subprocess.CompletedProcess[str]]


def test_jobs_prints_columns_without_colour(command: Command, server: Server, step_file: Callable[..., Path]) -> None:
    server.started(step_file("echo ready; exit 3"), "bad")
    list(server.client.follow("bad"))
    server.started(step_file("echo ready; sleep 60", "other.yml"), "a-longer-id")
    # readline, which pytest imports, puts COLUMNS into the environment where os.environ does not show it.
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    ended = command("jobs", "--socket", server.path, env=environment)
    head, *rows = ended.stdout.splitlines()
    assert head.split() == ["ID", "STATUS", "STEP", "STARTED", "DURATION", "MESSAGE"]
    by_id = {row.split()[0]: row for row in rows}
    assert by_id["a-longer-id"].split()[1] == "running"
    assert by_id["bad"].split()[1] == "failure"
    assert by_id["bad"].endswith('step "job": step "work": exec: exit status 3')
    assert len({row.index("running" if "running" in row else "failure") for row in rows}) == 1
    assert "\t" not in ended.stdout
    assert "\x1b" not in ended.stdout


def test_invalid_socket_path_is_reported(command: Command) -> None:
    path = f"/{'x' * 200}"
    ended = command("jobs", "--socket", path)
    told = f"Error: opening socket: {path} is longer than 107 bytes: choose a shorter --socket\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", told)


@pytest.mark.parametrize(("columns", "shortened"), [(None, False), ("100", True), ("1000", False)])
def test_jobs_table_is_as_wide_as_columns_allow(
    command: Command, server: Server, tmp_path: Path, columns: str | None, shortened: bool
) -> None:
    """Without COLUMNS a pipe has no width, and programs that read it get messages as a whole."""
    file = tmp_path / "job.yml"
    file.write_text(f"{{}}\n---\nrun:\n  - name: n\n    func: ./{'x' * 200}\n")
    file.with_name("x" * 200).mkdir()
    (file.with_name("x" * 200) / "func.yml").write_text("{}\n---\nexec: {command: [./absent" + "y" * 150 + "]}\n")
    command("start", str(file), "--id", "1", "--socket", server.path)
    list(server.client.follow("1"))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment |= {"COLUMNS": columns} if columns is not None else {}
    (row,) = command("jobs", "--socket", server.path, env=environment).stdout.splitlines()[1:]
    assert row.endswith("...") is shortened
    assert len(row) == 100 if shortened else len(row) > 200


def test_failed_step_is_named(command: Command, server: Server, tmp_path: Path) -> None:
    """The innermost one, although the job has ended."""
    file = tmp_path / "job.yml"
    (tmp_path / "inner.yml").write_text("{}\n---\nrun: [{name: compile, script: exit 3}]\n")
    file.write_text("{}\n---\nrun:\n  - {name: build, func: ./inner.yml}\n")
    command("start", str(file), "--id", "1", "--socket", server.path)
    list(server.client.follow("1"))
    (row,) = command("jobs", "--socket", server.path).stdout.splitlines()[1:]
    assert row.split()[:3] == ["1", "failure", "compile"]


def test_jobs_prints_table_on_terminal(
    terminal: Callable[..., Terminal], server: Server, step_file: Callable[..., Path]
) -> None:
    server.started(step_file("echo ready"), "[red]1")
    list(server.client.follow("[red]1"))
    text = terminal("jobs", "--socket", server.path, env=_terminal_environment()).finish()
    assert "\x1b[1m" in text
    assert "[red]1" in text
    assert "success" in text


def _terminal_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    return {**kept, "TERM": "xterm", "COLUMNS": "120"}


def test_jobs_json_holds_everything(command: Command, server: Server, step_file: Callable[..., Path]) -> None:
    server.started(step_file("echo ready; sleep 60"))
    server.client.cancel("1")
    list(server.client.follow("1"))
    (job,) = json.loads(command("jobs", "--format", "json", "--socket", server.path).stdout)
    assert (job["id"], job["status"], job["kind"]) == ("1", "cancelled", "cancelled")
    assert job["start_time"] < job["end_time"]
    assert job["termination"]["step"] == "work"
    assert job["termination"]["ended"]["signals"][0]["name"] == "SIGTERM"


def test_jobs_prints_no_jobs_for_empty_server(command: Command, server: Server) -> None:
    assert command("jobs", "--socket", server.path).stdout == "no jobs\n"
    assert json.loads(command("jobs", "--format", "json", "--socket", server.path).stdout) == []
