"""Users of servers that a client trusts."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.cells import AS_NOBODY, NOBODY
from tests.support.steps import script

from step_runner.api import client, peer_credentials
from step_runner.api.client import Client
from step_runner.errors import StepRunnerError
from step_runner.model import RunRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.api.conftest import Server

LISTEN = """\
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
listener.listen()
print(flush=True)
sys.stdin.read()
"""
"""A server that accepts connections and sends nothing, until stdin ends."""

only_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")


@contextlib.contextmanager
def listening(path: str, prefix: Sequence[str] = ()) -> Iterator[None]:
    command = [*prefix, sys.executable, "-I", "-S", "-c", LISTEN, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        try:
            yield
        finally:
            process.kill()


@pytest.fixture
def foreign(temporary: str) -> Iterator[str]:
    """Yield the socket of another user, in a shared directory."""
    os.chmod(temporary, 0o1777)
    with listening(f"{temporary}/s.sock", AS_NOBODY):
        yield f"{temporary}/s.sock"


@only_root
def test_server_of_another_user_gets_nothing(foreign: str) -> None:
    with pytest.raises(StepRunnerError, match="belongs to the user nobody, so nothing was sent to it"):
        Client(foreign)


@only_root
@pytest.mark.parametrize("arguments", [["proxy"], ["jobs"], ["start", "greet.yml"]], ids=" ".join)
def test_every_client_refuses_server_of_another_user(foreign: str, temporary: str, arguments: list[str]) -> None:
    with open(f"{temporary}/greet.yml", "w") as file:
        file.write("{}\n---\nexec: {command: ['true']}\n")
    command = [sys.executable, "-m", "step_runner", *arguments, "--socket", foreign]
    ended = subprocess.run(command, stdin=subprocess.PIPE, capture_output=True, text=True, cwd=temporary)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "trust this user with --socket-owner 65534" in ended.stderr


@only_root
@pytest.mark.parametrize("user", ["nobody", "65534"])
def test_socket_owner_names_a_user_to_trust(foreign: str, user: str) -> None:
    with peer_credentials.checked(foreign, NOBODY):
        pass
    proxy = [sys.executable, "-m", "step_runner", "proxy", "--socket", foreign, "--socket-owner", user]
    assert subprocess.run(proxy, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


@only_root
def test_root_is_trusted_by_every_user(temporary: str) -> None:
    os.chmod(temporary, 0o755)
    with listening(f"{temporary}/s.sock"):
        importing = "import sys; from step_runner.api.peer_credentials import checked"
        code = f"{importing}\nwith checked(sys.argv[1]): print('trusted')"
        command = [*AS_NOBODY, sys.executable, "-c", code, f"{temporary}/s.sock"]
        ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.stdout == "trusted\n", ended.stderr


def test_unknown_user_is_refused(temporary: str) -> None:
    command = [sys.executable, "-m", "step_runner", "jobs", "--socket-owner", "no-such-user"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "user 'no-such-user' does not exist: give a name or a number" in ended.stderr


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="only Linux opens a socket's file")
def test_checked_socket_cannot_be_replaced(serve: Callable[..., Server], temporary: str) -> None:
    """A socket that replaces it after the check receives nothing."""
    server = serve()
    with Client(server.path) as checked:
        os.rename(server.path, f"{temporary}/moved")
        with listening(server.path):
            checked.run(RunRequest(id="1", steps=script("true"), work_dir="/"))
            assert [job.id for job in checked.jobs()] == ["1"]
        os.unlink(server.path)
        os.rename(f"{temporary}/moved", server.path)


def test_connection_to_mute_listener_times_out(temporary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER", 0.1)
    path = f"{temporary}/s.sock"
    calls: list[Callable[[Client], object]] = [
        Client.jobs,
        lambda mute: mute.run(RunRequest(id="1", steps="", work_dir="/")),
        lambda mute: mute.status("1"),
        lambda mute: mute.cancel("1"),
    ]
    with listening(path), Client(path) as mute:
        for call in calls:
            with pytest.raises(StepRunnerError, match="does not answer: end it, and start another one"):
                call(mute)


def test_connection_to_full_queue_times_out(temporary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped server accepts no connection, so with a full backlog connect(2) waits."""
    monkeypatch.setattr(peer_credentials, "PATIENCE", 0.1)
    path = f"{temporary}/s.sock"
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as waiting:
        listener.bind(path)
        listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                connection = waiting.enter_context(socket.socket(socket.AF_UNIX))
                connection.setblocking(False)
                connection.connect(path)
        with pytest.raises(StepRunnerError, match="takes no connections"):
            Client(path)


def test_client_without_server_says_how_to_start_one(temporary: str) -> None:
    path = f"{temporary}/a b.sock"
    with pytest.raises(StepRunnerError, match=f"no server listens on {path}: start one with: .* --socket '{path}'$"):
        Client(path)


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="elsewhere connect(2) alone tells")
@pytest.mark.parametrize("make", [Path.touch, Path.mkdir], ids=["file", "directory"])
def test_path_without_socket_is_reported(temporary: str, make: Callable[[Path], None]) -> None:
    """A server cannot start there either."""
    path = Path(temporary) / "s.sock"
    make(path)
    with pytest.raises(StepRunnerError, match=f"connecting to {path}: it is not a socket: name another --socket"):
        Client(str(path))
