"""`serve ... COMMAND`: a command next to the server, which reads the server's stdin."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.api.conftest import Server

    Serve = Callable[..., Server]


def stdin(server: Server) -> IO[bytes]:
    assert server.process.stdin is not None
    return server.process.stdin


def test_sidecar_gets_whole_stdin_and_gives_its_status(serve: Serve) -> None:
    """The server stops when the command ends."""
    server = serve("sh", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.client.jobs() == []
    out, _ = server.process.communicate(b"echo from the command\nexit 7\n", timeout=30)
    server.wait()
    assert (out, server.process.returncode) == (b"from the command\n", 7)
    assert not os.path.exists(server.path)


def test_server_serves_before_and_during_sidecar(serve: Serve) -> None:
    """The server answers while it waits for the first byte, and while the command runs."""
    server = serve("sh", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.run("echo before")[1] == b"before\n"
    stdin(server).write(b"echo started\n")
    stdin(server).flush()
    assert server.process.stdout is not None
    assert server.process.stdout.readline() == b"started\n"
    assert server.run("echo during")[1] == b"during\n"
    stdin(server).close()
    server.process.stdin = None
    assert server.wait() == 0


def test_end_of_sidecar_stops_jobs(serve: Serve) -> None:
    server = serve("sh", stdin=subprocess.PIPE)
    chunks = server.client.follow(
        server.start_ready("trap 'echo cleaned up; exit' TERM; echo ready; while :; do sleep 0.02; done")
    )
    next(chunks)
    server.process.communicate(b"exit 3\n", timeout=30)
    assert b"cleaned up\n" in b"".join(chunks)
    assert server.wait() == 3


@pytest.mark.parametrize("source", ["pipe", "null device", "empty file"])
def test_sidecar_does_not_run_without_data(serve: Serve, temporary: str, source: str) -> None:
    Path(temporary, "empty").touch()
    marker = Path(temporary, "ran")
    with open("/dev/null" if source == "null device" else f"{temporary}/empty", "rb") as file:
        server = serve("touch", str(marker), stdin=subprocess.PIPE if source == "pipe" else file)
    if source == "pipe":
        stdin(server).close()
        server.process.stdin = None
    assert (server.wait(), server.rest) == (0, b"")
    assert not marker.exists()


def test_stdin_may_be_a_file(serve: Serve, temporary: str) -> None:
    Path(temporary, "script").write_text("echo from a file\nexit 4\n")
    with open(f"{temporary}/script", "rb") as file:
        server = serve("sh", stdin=file, stdout=subprocess.PIPE)
    out, _ = server.process.communicate(timeout=30)
    server.wait()
    assert (out, server.process.returncode) == (b"from a file\n", 4)


def test_stopped_server_starts_no_sidecar_without_data(serve: Serve, temporary: str) -> None:
    """A server that stops before its stdin has data never runs the command."""
    server = serve("touch", f"{temporary}/ran", stdin=subprocess.PIPE)
    assert server.stop() == 0
    assert not os.path.exists(f"{temporary}/ran")


def test_sidecar_is_stopped_gracefully_with_server(serve: Serve) -> None:
    server = serve("sh", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stdin(server).write(b"trap 'echo cleaned up; exit 0' TERM; echo started; while :; do sleep 0.02; done\n")
    stdin(server).flush()
    assert server.process.stdout is not None
    assert server.process.stdout.readline() == b"started\n"
    server.process.send_signal(signal.SIGTERM)
    out, _ = server.process.communicate(timeout=30)
    server.wait()
    assert out == b"cleaned up\n"
    assert server.process.returncode == 128 + signal.SIGTERM


def test_sidecar_runs_in_its_own_process_group(serve: Serve) -> None:
    server = serve("sh", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = server.process.communicate(b"ps -o pgid= -p $$; echo $$\n", timeout=30)
    server.wait()
    group, process = out.split()
    assert group == process


def test_missing_sidecar_is_reported(serve: Serve) -> None:
    server = serve("no-such-program", stdin=subprocess.PIPE)
    server.process.communicate(b"x", timeout=30)
    assert (server.process.returncode, os.path.exists(server.path)) == (1, False)


def test_stdin_is_not_read_without_sidecar(serve: Serve) -> None:
    server = serve(stdin=subprocess.PIPE)
    stdin(server).write(b"unread")
    stdin(server).close()
    server.process.stdin = None
    assert server.run("echo alive")[1] == b"alive\n"
    assert server.stop() == 0


def test_sigquit_kills_sidecar_that_ignores_first_signal(serve: Serve) -> None:
    """Without SIGQUIT the command would have five seconds; the test does not wait for their end."""
    server = serve("sh", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stdin(server).write(b"trap 'echo stopping' TERM; echo ready; while :; do sleep 0.02; done\n")
    stdin(server).flush()
    assert server.process.stdout is not None
    assert server.process.stdout.readline() == b"ready\n"
    server.process.terminate()
    assert server.process.stdout.readline() == b"stopping\n"
    server.process.send_signal(signal.SIGQUIT)
    assert server.wait() == 128 + signal.SIGKILL
