"""The server on a system without unix sockets: it answers only clients that have the token."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import sys
import threading
from typing import TYPE_CHECKING

import grpc
import pytest

from step_runner.api.pb import step_pb2 as pb
from step_runner.api.pb.step_pb2_grpc import StepRunnerStub, add_StepRunnerServicer_to_server
from step_runner.api.service import Service
from step_runner.api.threaded_copy import ReadAhead, copy_in_threads
from step_runner.api.token_auth import TokenAuth, admitted, awaited, channel, is_listening, read_address
from step_runner.errors import StepRunnerError
from step_runner.jobs.manager import JobManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@contextlib.asynccontextmanager
async def serving(path: Path) -> AsyncIterator[None]:
    """Run a server without jobs, with its address in the file at this path."""
    jobs, auth = JobManager(1, {}), TokenAuth()
    server = grpc.aio.server()
    add_StepRunnerServicer_to_server(Service(jobs, auth.check), server)
    with auth.opened(server, str(path)):
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)
            await jobs.shut_down()


def _jobs(own: grpc.Channel) -> list[str]:
    return [job.id for job in StepRunnerStub(own).Status(pb.StatusRequest()).jobs]


def _code(own: grpc.Channel, *, follow: bool = False) -> grpc.StatusCode:
    """Return the code with which a call is refused."""
    with own, pytest.raises(grpc.RpcError) as refused:
        list(StepRunnerStub(own).FollowLogs(pb.FollowLogsRequest(id="1"))) if follow else _jobs(own)
    code: grpc.StatusCode = refused.value.code()
    return code


async def test_owner_is_answered(tmp_path: Path) -> None:
    async with serving(path := tmp_path / "sock"):
        with channel(str(path)) as own:
            assert await asyncio.to_thread(_jobs, own) == []
            with pytest.raises(grpc.RpcError, match='no job with id "1"'):
                await asyncio.to_thread(list, StepRunnerStub(own).FollowLogs(pb.FollowLogsRequest(id="1")))


async def test_token_client_uses_no_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    async with serving(path := tmp_path / "sock"):
        with channel(str(path)) as own:
            assert await asyncio.to_thread(_jobs, own) == []


@pytest.mark.parametrize("follow", [False, True], ids=["call", "stream"])
async def test_other_users_are_refused(tmp_path: Path, follow: bool) -> None:
    async with serving(path := tmp_path / "sock"):
        address = read_address(str(path))
        assert address is not None
        stranger = grpc.insecure_channel(f"127.0.0.1:{address.port}")
        assert await asyncio.to_thread(_code, stranger, follow=follow) is grpc.StatusCode.UNAUTHENTICATED
        path.write_text(f"127.0.0.1:{address.port} {'0' * 64}\n")
        assert await asyncio.to_thread(_code, channel(str(path)), follow=follow) is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.skipif(sys.platform == "win32", reason="the mode of a file says nothing there")
async def test_only_owner_can_read_token(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with serving(path := tmp_path / "sock"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not path.exists()
    finally:
        os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="a socket is no descriptor there: the proxy itself is tested")
async def test_admitted_connection_needs_no_token_of_its_own(tmp_path: Path) -> None:
    """A client on a connection that `admitted` has opened with the token sends no token itself."""
    async with serving(path := tmp_path / "sock"):
        assert await asyncio.to_thread(_call_through_admitted, str(path)) == []


def _call_through_admitted(path: str) -> list[str]:
    with admitted(path) as connection, _port(connection) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as own:
        return _jobs(own)


@contextlib.contextmanager
def _port(connection: socket.socket) -> Iterator[int]:
    """Yield a port that connects one client to another connection, with the code of `proxy`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_relay_one, args=(listener, connection))
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def _relay_one(listener: socket.socket, connection: socket.socket) -> None:
    client, _ = listener.accept()
    with client, client.makefile("rwb", buffering=0) as file:
        copy_in_threads(ReadAhead(file.fileno()), file.fileno(), connection)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
async def test_address_of_another_user_is_not_used(tmp_path: Path) -> None:
    """The server of that user would receive the calls, and a token in that user's file protects nothing."""
    async with serving(path := tmp_path / "sock"):
        os.chown(path, 65534, 65534)
        for use in (channel, is_listening, lambda name: admitted(name).__enter__()):
            with pytest.raises(StepRunnerError, match="belongs to another user"):
                use(str(path))


async def test_second_server_learns_of_first(tmp_path: Path) -> None:
    async with serving(path := tmp_path / "sock"):
        assert await asyncio.to_thread(is_listening, str(path))
        with pytest.raises(StepRunnerError, match="address already in use: another server listens there"):
            async with serving(path):
                pass
    assert not await asyncio.to_thread(is_listening, str(path))


async def test_address_of_dead_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    path.write_text(f"127.0.0.1:{port} token\n")
    async with serving(path):
        assert await asyncio.to_thread(is_listening, str(path))


async def test_address_with_port_of_another_server_is_replaced(tmp_path: Path) -> None:
    """This happens, for example, after a restart of the machine."""
    async with serving(tmp_path / "other"):
        address = read_address(str(tmp_path / "other"))
        assert address is not None
        (tmp_path / "sock").write_text(f"127.0.0.1:{address.port} {'0' * 64}\n")
        assert not await asyncio.to_thread(is_listening, str(tmp_path / "sock"))


async def test_other_file_is_left_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    path.write_text("precious")
    with pytest.raises(StepRunnerError, match="sock exists and is not an address: choose another --socket"):
        async with serving(path):
            pass
    assert path.read_text() == "precious"


async def test_client_waits_for_server(tmp_path: Path) -> None:
    """A file with the address of a server that has ended does not count either."""
    path = tmp_path / "sock"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        path.write_text(f"127.0.0.1:{listener.getsockname()[1]} token\n")
    waiting = asyncio.create_task(asyncio.to_thread(_reach, str(path), threading.Event()))
    async with serving(path):
        assert await waiting


def _reach(path: str, given_up: threading.Event) -> bool:
    with awaited(path, given_up) as connection:
        return connection.fileno() >= 0


def test_end_of_source_ends_waiting_for_server(tmp_path: Path) -> None:
    """This holds even if bytes were read before."""
    source, end = os.pipe()
    os.write(end, b"x" * 100)
    os.close(end)
    ahead = ReadAhead(source)
    with pytest.raises(FileNotFoundError), awaited(str(tmp_path / "sock"), ahead.ended):
        pass
    assert list(ahead) == [b"x" * 100]
    os.close(source)


def test_file_without_address_is_not_awaited(tmp_path: Path) -> None:
    """The file would never change, so waiting is useless."""
    (tmp_path / "sock").write_text("precious")
    with pytest.raises(OSError, match="it is not an address"), awaited(str(tmp_path / "sock"), threading.Event()):
        pass
