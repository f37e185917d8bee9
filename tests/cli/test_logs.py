from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Server, Terminal

    Command = Callable[..., subprocess.CompletedProcess[str]]

HEAD = b"Running step name=work\n"


def output(server: Server, *arguments: str) -> bytes:
    command = [sys.executable, "-m", "step_runner", "logs", *arguments, "--socket", server.path]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def test_logs_without_follow_prints_output_so_far(server: Server, step_file: Callable[..., Path]) -> None:
    server.started(step_file("echo ready; sleep 60"))
    assert output(server, "1") == HEAD + b"ready\n"


def test_logs_without_follow_ends_while_job_writes(server: Server, step_file: Callable[..., Path]) -> None:
    """`logs` ends although the job writes all the time."""
    server.started(step_file("echo ready; while :; do echo more; done"))
    assert output(server, "1").startswith(HEAD + b"ready\n")


@pytest.mark.parametrize("options", [[], ["--follow"]], ids=["now", "follow"])
def test_logs_prints_every_byte_unchanged(server: Server, step_file: Callable[..., Path], options: list[str]) -> None:
    server.started(step_file(r"echo ready; printf 'a\r\n\n\0\377\303 no end'"))
    list(server.client.follow("1"))
    assert output(server, "1", *options) == HEAD + b"ready\na\r\n\n\0\xff\xc3 no end"


@pytest.mark.parametrize("options", [[], ["-f"]], ids=["now", "follow"])
def test_logs_begins_at_offset(server: Server, step_file: Callable[..., Path], options: list[str]) -> None:
    server.started(step_file("echo ready; echo 0123456789"))
    list(server.client.follow("1"))
    assert output(server, "1", *options, "--offset", str(len(HEAD) + 10)) == b"456789\n"
    assert output(server, "1", *options, "--offset", "1000000") == b""


def test_log_of_many_messages_arrives_whole(server: Server, step_file: Callable[..., Path]) -> None:
    server.started(step_file("echo ready; head -c 5000000 /dev/zero"))
    list(server.client.follow("1"))
    assert output(server, "1") == HEAD + b"ready\n" + bytes(5_000_000)


def test_follow_prints_live_and_ends_with_job(server: Server, step_file: Callable[..., Path], tmp_path: Path) -> None:
    server.started(step_file(f"echo ready; until test -e {tmp_path}/go; do sleep 0.02; done; printf done"))
    command = [sys.executable, "-m", "step_runner", "logs", "1", "-f", "--socket", server.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        assert following.stdout.read(len(HEAD) + 6) == HEAD + b"ready\n"
        (tmp_path / "go").touch()
        assert following.stdout.read() == b"done"
    assert following.returncode == 0


@pytest.mark.parametrize("options", [[], ["--follow"]], ids=["now", "follow"])
def test_closed_reader_is_not_an_error(server: Server, step_file: Callable[..., Path], options: list[str]) -> None:
    server.started(step_file("echo ready; head -c 5000000 /dev/zero; sleep 60"))
    command = [sys.executable, "-m", "step_runner", "logs", "1", *options, "--socket", server.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as following:
        assert following.stdout is not None
        assert following.stderr is not None
        os.read(following.stdout.fileno(), 1)
        following.stdout.close()
        assert following.stderr.read() == b""
    assert following.returncode == 0


def test_ctrl_c_ends_following_but_not_job(
    terminal: Callable[..., Terminal], server: Server, step_file: Callable[..., Path]
) -> None:
    server.started(step_file("echo ready; sleep 60"))
    following = terminal("logs", "1", "-f", "--socket", server.path)
    following.read_until("ready")
    following.process.send_signal(signal.SIGINT)
    following.finish()
    assert following.process.returncode == 128 + signal.SIGINT
    assert not server.client.status("1").finished


@pytest.mark.parametrize("options", [[], ["--follow"]], ids=["now", "follow"])
def test_unknown_job_has_no_log(command: Command, server: Server, options: list[str]) -> None:
    ended = command("logs", "x", *options, "--socket", server.path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f'Error: no job with id "x": list the jobs with: step-runner jobs --socket {server.path}\n'
