"""The life of a server: its socket, its output, its end, and the files that remain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket as sockets
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psutil
import pytest
from tests.support import server as servers
from tests.support.absent import absent
from tests.support.cells import AS_NOBODY, NOBODY
from tests.support.steps import command

from step_runner import shown
from step_runner.api.pb import step_pb2 as pb
from step_runner.api.pb.step_pb2_grpc import StepRunnerStub, add_StepRunnerServicer_to_server
from step_runner.api.server import _stop_when_gone
from step_runner.api.service import Service
from step_runner.api.socket import OwnerOnly
from step_runner.jobs.manager import JobManager

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.api.conftest import Server

TRAP = "trap 'echo cleaned up; exit 0' TERM; echo ready; while :; do sleep 0.02; done"
IGNORES_TERM = "trap '' TERM; sleep 1000 & echo ready; wait"


def test_ready_line_names_socket(serve: Callable[..., Server]) -> None:
    """Clients read everything between these words and the end of the line as the path."""
    server = serve()
    assert server.first_line == f"step-runner is listening on socket {server.path}\n"
    assert server.client.jobs() == []


def test_socket_is_private(serve: Callable[..., Server]) -> None:
    mode = os.stat(serve().path).st_mode
    assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_stopped_server_leaves_nothing(serve: Callable[..., Server], number: signal.Signals) -> None:
    """Jobs are cancelled gracefully, their followers get the end of the log, and the exit status is 0."""
    server = serve("--verbose")
    finished = server.start("true")
    server.log(finished)
    job = server.start_ready(TRAP)
    chunks = server.client.follow(job)
    log = next(chunks)

    server.process.send_signal(number)

    assert (log + b"".join(chunks)).count(b"cleaned up\n") == 1
    assert server.wait() == 0
    assert server.rest == f"received {number.name}: stopping all jobs\n".encode()
    assert (os.path.exists(server.path), os.listdir(server.temporary)) == (False, [])


def test_stopping_server_gives_each_job_its_own_delay(serve: Callable[..., Server], temporary: str) -> None:
    """The request's grace period is longer than the server's, but the follower still gets the whole log."""
    server = serve("--graceful-exit-delay", "0")
    text = (
        "trap 'echo cleaning; read line <gate; echo cleaned up; exit 0' TERM; echo ready; while :; do sleep 0.02; done"
    )
    os.makedirs(f"{temporary}/work")
    os.mkfifo(f"{temporary}/work/gate")
    chunks = server.client.follow(server.start_ready(text, graceful_exit_delay=30))
    killed = server.client.follow(server.start_ready(IGNORES_TERM))
    next(chunks)
    next(killed)
    server.process.send_signal(signal.SIGTERM)
    assert b"Ended 2 processes" in b"".join(killed)
    Path(f"{temporary}/work/gate").write_text("go on\n")
    assert b"".join(chunks).endswith(b"cleaned up\n")
    assert server.wait() == 0


def test_stopping_server_takes_no_calls(serve: Callable[..., Server]) -> None:
    server = serve()
    job = server.start_ready(IGNORES_TERM, graceful_exit_delay=1)
    chunks = server.client.follow(job)
    next(chunks)
    server.process.send_signal(signal.SIGTERM)
    while b"Stopping step" not in next(chunks):
        pass
    with pytest.raises(grpc.RpcError) as caught:
        server.stub.Run(pb.RunRequest(id="late", steps=command("true")))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert b"Ended 2 processes" in b"".join(chunks)
    assert server.wait() == 0


def test_sigquit_kills_at_once(serve: Callable[..., Server]) -> None:
    server = serve()
    job = server.start_ready(IGNORES_TERM)
    chunks = server.client.follow(job)
    next(chunks)
    server.process.send_signal(signal.SIGTERM)
    while b"Stopping step" not in next(chunks):
        pass
    began = time.monotonic()
    assert server.stop(signal.SIGQUIT) == 0
    assert time.monotonic() - began < 20
    assert os.listdir(server.temporary) == []


def test_repeated_signals_keep_grace_of_jobs(serve: Callable[..., Server]) -> None:
    """Any number of SIGTERM, SIGHUP and SIGINT counts as one request."""
    server = serve()
    chunks = server.client.follow(
        server.start_ready("trap 'sleep 1; echo cleaned up; exit' TERM; echo ready; while :; do :; done")
    )
    next(chunks)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        server.process.send_signal(number)
        time.sleep(0.05)
    log = b"".join(chunks)
    assert b"cleaned up\n" in log
    assert b"Killed" not in log
    assert (server.wait(), server.rest) == (0, b"")


def test_signal_to_both_processes_counts_as_one_request(serve: Callable[..., Server]) -> None:
    """A signal to a whole control group reaches both processes; steps still have their grace period."""
    server = serve()
    chunks = server.client.follow(server.start_ready(TRAP))
    next(chunks)
    server.worker.suspend()  # so that both signals are pending when it continues
    server.worker.terminate()
    server.process.terminate()
    assert b"cleaned up\n" in b"".join(chunks)
    assert (server.wait(), server.rest) == (0, b"")


async def test_end_of_supervisor_is_noticed_once() -> None:
    """A pipe stays readable after its end, so the reader must be removed."""
    reader, writer = os.pipe()
    stopping = asyncio.Event()
    _stop_when_gone(reader, stopping)
    os.close(writer)
    await stopping.wait()
    assert not asyncio.get_running_loop().remove_reader(reader)
    os.close(reader)


def test_invalid_ledger_does_not_keep_server_from_answering(serve: Callable[..., Server], temporary: str) -> None:
    """The server starts although a file among its ledgers cannot be read as one."""
    for name, owner in (("own", os.getuid()), ("other", 65534 if os.getuid() == 0 else os.getuid())):
        directory = f"{temporary}/step-runner-output-{name}"
        os.mkdir(directory, 0o755)
        os.mkfifo(f"{directory}/ledger")
        os.chown(directory, owner, -1)
    server = serve()
    assert server.run("echo works", job_id="1")[1] == b"works\n"
    server.client.close("1")
    assert server.stop() == 0
    shutil.rmtree(f"{temporary}/step-runner-output-own")
    shutil.rmtree(f"{temporary}/step-runner-output-other")


def test_server_stops_without_reader_of_its_stderr(serve: Callable[..., Server]) -> None:
    server = serve()
    assert server.process.stderr is not None
    server.process.stderr.close()
    server.process.stderr = None
    assert server.stop() == 0
    assert not os.path.exists(server.path)


def test_internal_faults_go_to_stderr_and_server_continues(serve: Callable[..., Server]) -> None:
    """Failed jobs are not reported there: users see stderr."""
    server = serve()
    server.run("exit 1")
    assert server.stop() == 0
    assert server.rest == b""


@pytest.mark.parametrize("level", ["debug", " Debug", "info", ""])
def test_server_says_more_at_level_debug_alone(serve: Callable[..., Server], level: str) -> None:
    """With GitLab Runner's instance executor stderr is part of the job's output."""
    server = serve(env={"CI_STEPS_LOG_LEVEL": level})
    assert server.first_line == f"step-runner is listening on socket {server.path}\n"
    server.start_ready(TRAP)
    assert server.stop() == 0
    assert server.rest == (b"received SIGTERM: stopping all jobs\n" if "ebug" in level else b"")


@pytest.mark.parametrize("name", ["%41", "a%2Fb", "a?b", "a#b", "a b", "ü", "\udcff", "%", "a;b&c=d"], ids=ascii)
def test_socket_is_exactly_at_requested_path(serve: Callable[..., Server], temporary: str, name: str) -> None:
    """gRPC reads the path as a part of a URI and decodes it, also the names of directories."""
    os.mkdir(f"{temporary}/{name}")
    server = serve(name=f"{name}/{name}.sock")
    assert server.first_line == f"step-runner is listening on socket {shown.name(server.path)}\n"
    assert os.listdir(f"{temporary}/{name}") == [f"{name}.sock"]
    assert server.client.jobs() == []
    assert server.stop() == 0
    assert os.listdir(f"{temporary}/{name}") == []


def test_two_servers_share_a_temporary_directory(serve: Callable[..., Server]) -> None:
    """Jobs with the same id on both servers do not conflict."""
    first, second = serve(name="1.sock"), serve(name="2.sock")
    assert first.run("echo first", job_id="1")[1] == b"first\n"
    assert second.run("echo second", job_id="1")[1] == b"second\n"
    assert len(os.listdir(first.temporary)) == 2
    second.client.close("1")
    assert first.log("1").endswith(b"first\n")


def test_many_jobs_leave_no_descriptor(server: Server) -> None:
    server.run("true")
    server.clean()
    before = server.descriptors()
    for _ in range(30):
        server.run("true")
    server.clean()
    server.wait_for_descriptors(before)


def test_commands_get_no_descriptor_of_the_server(server: Server) -> None:
    _, log = server.run(command("ls", "-l", "/proc/self/fd"))
    assert {line.rsplit(b" ", 3)[1] for line in log.splitlines() if b"->" in line} <= {b"0", b"1", b"2", b"3"}
    assert b"socket:" not in log


# Paths of the socket


def start(path: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, sys.executable, "-m", "step_runner", "serve", "--socket", path],
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )


def test_socket_of_live_server_is_refused(serve: Callable[..., Server]) -> None:
    server = serve()
    second = start(server.path)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr == (
        f"Error: opening socket: {server.path}: address already in use: another server listens there\n"
    )
    assert server.client.jobs() == []


def test_stopping_server_keeps_socket_of_another_one(serve: Callable[..., Server]) -> None:
    """The socket of the first server was removed, and a second server was started there."""
    first = serve()
    os.unlink(first.path)
    second = serve()
    assert second.path == first.path
    first.process.terminate()
    assert first.process.wait() == 0
    assert second.client.jobs() == []


@pytest.fixture
def ordinary(temporary: str) -> tuple[str, ...]:
    """Return a command prefix that starts a command as an ordinary user, the owner of `temporary`."""
    if os.getuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        absent("setpriv")
    os.chown(temporary, NOBODY, NOBODY)
    return AS_NOBODY


def test_socket_without_permission_to_connect_is_refused(temporary: str, ordinary: tuple[str, ...]) -> None:
    """A server may listen there."""
    with contextlib.closing(servers.Server(temporary, ordinary)) as living:
        os.chmod(living.path, 0)
        second = start(living.path, ordinary)
        os.chmod(living.path, 0o600)
        assert (second.returncode, second.stdout) == (1, "")
        assert second.stderr == (
            f"Error: opening socket: {living.path}: address already in use: another server listens there\n"
        )
        assert living.client.jobs() == []


def test_directory_without_permission_for_socket_is_named(temporary: str, ordinary: tuple[str, ...]) -> None:
    directory = f"{temporary}/theirs"
    os.mkdir(directory, 0o555)
    refused = start(f"{directory}/s.sock", ordinary)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"Error: opening socket: {directory}: permission denied: choose another --socket\n"


def test_socket_of_dead_server_is_replaced(serve: Callable[..., Server], temporary: str) -> None:
    with sockets.socket(sockets.AF_UNIX) as dead:
        dead.bind(f"{temporary}/s.sock")
    assert serve().client.jobs() == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{temporary}/file", "opening socket: {temporary}/file exists and is not a socket: choose another --socket"),
        ("{temporary}", "opening socket: {temporary} exists and is not a socket: choose another --socket"),
        (
            "{temporary}/none/s",
            "opening socket: directory {temporary}/none does not exist: create it, or choose another --socket",
        ),
        (
            "/tmp/" + "x" * 103,
            f"opening socket: /tmp/{'x' * 103} is longer than 107 bytes: choose a shorter --socket",
        ),
    ],
    ids=["file", "directory", "no directory", "too long"],
)  # fmt: skip
def test_invalid_socket_path_is_refused(temporary: str, path: str, message: str) -> None:
    Path(temporary, "file").write_text("theirs")
    refused = start(path.format(temporary=temporary))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"Error: {message.format(temporary=temporary)}\n"
    assert Path(temporary, "file").read_text() == "theirs"


# A fault of ours


async def test_fault_in_handler_is_answered_as_internal(
    temporary: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the traceback, the caller gets the error, and the next call succeeds."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    manager = JobManager(1, os.environ)
    service = grpc.aio.server()
    add_StepRunnerServicer_to_server(Service(manager, OwnerOnly().check), service)
    service.add_insecure_port(f"unix:{temporary}/f.sock")
    await service.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{temporary}/f.sock") as channel:
            stub = StepRunnerStub(channel)
            with monkeypatch.context() as patch:
                for name in ("run", "status", "cancel", "close", "follow"):
                    patch.setattr(manager, name, fail)
                calls = (
                    stub.Run(pb.RunRequest()),
                    stub.Status(pb.StatusRequest(id="x")),
                    stub.Cancel(pb.CancelRequest()),
                    stub.Close(pb.CloseRequest()),
                    stub.FollowLogs(pb.FollowLogsRequest()).read(),
                )
                faults = await asyncio.gather(*calls, return_exceptions=True)
            assert [(fault.code(), fault.details()) for fault in faults if isinstance(fault, grpc.RpcError)] == [
                (grpc.StatusCode.INTERNAL, "ZeroDivisionError: by zero")
            ] * 5
            assert list((await stub.Status(pb.StatusRequest())).jobs) == []
    finally:
        await manager.shut_down()
        await service.stop(0)
    assert {record.message for record in caplog.records} == {
        f"{name} failed" for name in ("Run", "Status", "Cancel", "Close", "FollowLogs")
    }


def test_server_without_jobs_is_two_processes(serve: Callable[..., Server]) -> None:
    """The supervisor keeps the process id that the caller knows; the worker is its child."""
    server = serve()
    assert psutil.Process(server.process.pid).children(recursive=True) == [server.worker]
    assert server.jobs_processes() == []
