from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.support import server as servers

from step_runner.api.client import Client
from step_runner.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Server

    Command = Callable[..., subprocess.CompletedProcess[str]]


def serve(*arguments: str, names: tuple[str, ...] = ("serve",), **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "step_runner", *names, *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **{"stdin": subprocess.DEVNULL, **options}
    )


def ready_line(server: subprocess.Popen[str]) -> str:
    assert server.stderr is not None
    return server.stderr.readline()


@pytest.mark.parametrize("names", [("serve",), ("steps", "serve")], ids=" ".join)
@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ([], "{temporary}/step-runner.sock"),
        (["{temporary}/dir"], "{temporary}/dir/step-runner.sock"),
        (["--socket", "{temporary}/x.sock"], "{temporary}/x.sock"),
        (["--socket", "x.sock"], "{temporary}/x.sock"),
    ],
    ids=["default", "directory", "socket", "relative socket"],
)
def test_ready_line_names_socket_that_accepts_calls(
    temporary: str, names: tuple[str, ...], arguments: list[str], path: str
) -> None:
    Path(temporary, "dir").mkdir()
    path = path.format(temporary=temporary)
    server = serve(*(argument.format(temporary=temporary) for argument in arguments), names=names, cwd=temporary)
    with server:
        assert ready_line(server) == f"step-runner is listening on socket {path}\n"
        with Client(path) as client:
            assert client.jobs() == []
        server.terminate()
        assert server.wait() == 0
        assert server.stdout is not None
        assert server.stdout.read() == ""
    assert not os.path.exists(path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_stop_signal_ends_server_with_status_0(temporary: str, number: signal.Signals) -> None:
    with serve() as server:
        ready_line(server)
        server.send_signal(number)
        assert server.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([""], "invalid empty socket dir"),
        (["./nowhere"], "invalid socket dir ./nowhere: it does not exist: create it"),
        (["--socket", "/a/b", "."], "--socket /a/b and the directory . both name a socket: give one of them"),
        (["--socket", "/nowhere/s"], "opening socket: directory /nowhere does not exist: create it, or choose another"),
        (["--socket", f"/tmp/{'x' * 200}"], "is longer than 107 bytes: choose a shorter --socket"),
        (["--graceful-exit-delay", "soon"], '"soon" is not a duration'),
    ],
    ids=["empty", "missing", "two", "no parent", "long", "duration"],
)
def test_unusable_socket_path_is_refused(
    command: Command, temporary: str, arguments: list[str], complaint: str
) -> None:
    ended = command("serve", *arguments, cwd=temporary)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Error: ")
    assert complaint in ended.stderr


def test_socket_of_another_server_is_refused(command: Command, server: Server) -> None:
    ended = command("serve", "--socket", server.path)
    assert ended.returncode == 1
    assert f"{server.path}: address already in use" in ended.stderr
    assert server.client.jobs() == []


def test_socket_of_killed_server_is_reused(temporary: str) -> None:
    """Both of its processes are killed: a server that has lost only one of them stops by itself."""
    with serve() as server:
        ready_line(server)
        (worker,) = psutil.Process(server.pid).children()
        worker.suspend()  # so that it cannot tidy up when the other is gone
        server.kill()
        worker.kill()
        psutil.wait_procs([worker])
    assert os.path.exists(f"{temporary}/step-runner.sock")
    with serve() as server:
        assert ready_line(server) == f"step-runner is listening on socket {temporary}/step-runner.sock\n"
        server.terminate()


def test_socket_of_killed_worker_is_removed(temporary: str) -> None:
    with serve() as server:
        ready_line(server)
        (worker,) = psutil.Process(server.pid).children()
        worker.kill()
        assert server.wait() == 128 + signal.SIGKILL
    assert os.listdir(temporary) == []


@pytest.mark.parametrize(("script", "status"), [("echo $((1 + 1)); exit 3", 3), ("", 0)], ids=["script", "nothing"])
def test_sidecar_gets_stdin_and_gives_status(temporary: str, script: str, status: int) -> None:
    with serve(temporary, "sh", stdin=subprocess.PIPE) as server:
        output, _ = server.communicate(script)
    assert (server.returncode, output) == (status, "2\n" if script else "")


@pytest.mark.parametrize("directory", [(), (".",), ("./sh",), ("{temporary}/sh",)], ids=str)
def test_program_named_like_a_directory_is_run(temporary: str, directory: tuple[str, ...]) -> None:
    """Only a name with a slash, or a single argument, is the directory of the socket."""
    Path(temporary, "sh").mkdir()
    named = [each.format(temporary=temporary) for each in directory]
    with serve(*named, "sh", "-c", "cat; exit 3", cwd=temporary, stdin=subprocess.PIPE) as server:
        output, errors = server.communicate("input")
    assert (server.returncode, output) == (3, "input")
    place = os.path.normpath(os.path.join(temporary, *named))
    assert errors == f"step-runner is listening on socket {place}/step-runner.sock\n"


def test_bare_directory_holds_socket(temporary: str) -> None:
    Path(temporary, "sh").mkdir()
    with serve("sh", cwd=temporary) as server:
        assert ready_line(server) == f"step-runner is listening on socket {temporary}/sh/step-runner.sock\n"
        server.terminate()


def test_steps_know_socket_of_their_server(server: Server, step_file: Callable[..., Path]) -> None:
    server.started(step_file('echo "$STEP_RUNNER_SOCKET"; echo ready'))
    assert f"\n{server.path}\n".encode() in b"".join(server.client.follow("1"))


@pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0, reason="only root makes PID namespaces, and Linux alone"
)
def test_pid_1_reaps_orphans_and_stops_gracefully(temporary: str) -> None:
    """Orphans of the program that became the server, and of a sidecar, leave no zombie."""
    earlier, beside = f"{temporary}/earlier", f"{temporary}/beside"
    for fifo in (earlier, beside):
        os.mkfifo(fifo)
    container = ("unshare", "--kill-child", "--pid", "--fork", "--mount-proc")
    server = servers.Server(temporary, (*container, "sh", "-c", f'read -r line <{earlier} & exec "$@"', ""))
    try:
        first = server.runner.worker  # in the eyes of the program that made the container
        worker = next(child for child in first.children() if child.cmdline()[0] == sys.executable)
        enter = ("nsenter", f"--target={first.pid}", "--pid")
        subprocess.run([*enter, "sh", "-c", f"setsid sh -c 'read -r line <{beside}' &"], check=True)
        assert len(first.children()) == 3
        for fifo in (earlier, beside):
            Path(fifo).write_text("end\n")
        while first.children() != [worker]:
            """They are ending."""
        server.start("trap 'echo cleaned up; exit' TERM; setsid sleep 1000 & echo ready; while :; do :; done")
        server.wait_for("ready")
        following = server.client.follow("1")
        log = next(following)
        first.terminate()
        assert b"cleaned up\n" in log + b"".join(following)
        assert server.runner.supervisor.wait() == 0
        assert not os.path.exists(server.path)
    finally:
        server.runner.supervisor.kill()
        server.close()


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The directory of a login session."""
    directory = tmp_path / "session"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    return str(directory)


def test_default_socket_lies_in_session_directory(session: str, temporary: str) -> None:
    assert options.default_sockets() == [f"{session}/step-runner.sock", f"{temporary}/step-runner.sock"]
    with serve() as server:
        assert ready_line(server) == f"step-runner is listening on socket {session}/step-runner.sock\n"
        assert options.default_socket() == f"{session}/step-runner.sock"
        server.terminate()


def test_default_socket_without_session_is_found(
    command: Command, session: str, temporary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without_session:
        without_session.setenv("XDG_RUNTIME_DIR", "")
        server = serve()
    with server:
        assert ready_line(server) == f"step-runner is listening on socket {temporary}/step-runner.sock\n"
        ended = [command(name, text=False).returncode for name in ("jobs", "proxy")]
        server.terminate()
    assert ended == [0, 0]


@pytest.mark.parametrize("spoil", ["writable", "absent", "relative"])
def test_directory_open_to_others_is_refused_for_socket(
    session: str, temporary: str, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    """A directory that others can write to is not a place for the socket."""
    if spoil == "writable":
        os.chmod(session, 0o777)
    elif spoil == "absent":
        os.rmdir(session)
    else:
        monkeypatch.setenv("XDG_RUNTIME_DIR", os.path.relpath(session))
    assert options.default_sockets() == [f"{temporary}/step-runner.sock"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_idle_server_holds_no_openssl(temporary: str) -> None:
    """It is megabytes, which only jobs that fetch something need."""
    server = serve("--socket", f"{temporary}/s.sock")
    with server:
        ready_line(server)
        supervisor = psutil.Process(server.pid)
        libraries = {each.path for process in (supervisor, *supervisor.children()) for each in process.memory_maps()}
        server.terminate()
    assert any("cygrpc" in path for path in libraries)
    assert [path for path in libraries if "libssl" in path or "libcrypto" in path] == []


def test_ssl_works_after_asyncio_import_without_it() -> None:
    """Functions are fetched over TLS in the same process."""
    program = (
        "from step_runner.cli.supervision import _import_libraries; _import_libraries(); import asyncio, sys; "
        "assert 'ssl' not in sys.modules; import ssl, urllib3.contrib; ssl.create_default_context()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
