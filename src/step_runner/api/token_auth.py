"""Replaces the unix socket on systems without one: a port of 127.0.0.1, and a file with its number and a token.

Any user of the machine can connect to a port. Only the owner can read the file, and the server answers only calls
with its token. `proxy` does not parse the calls that pass through it, so it cannot add the token. Instead it asks for
admission of its connection, by a call of its own that lasts as long as the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import os
import secrets
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from step_runner import private
from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    import threading
    from collections.abc import AsyncIterator, Iterator

HOST = "127.0.0.1"
KEY = "authorization"
SERVICE, ADMIT = "step_runner.TokenAuth", "Admit"
ADMISSION = f"/{SERVICE}/{ADMIT}"

DIRECTLY = (("grpc.enable_http_proxy", 0),)
"""Options of channels: a proxy from the environment cannot reach a port of this machine, nor may it see the token."""

LONGEST_FILE = 256
"""Bytes to read of a file that should hold an address."""

TRY = 1.0
"""Seconds to wait for a connection to this machine."""

FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.2
"""Seconds between two attempts to connect to a server that does not listen yet."""


class Address(NamedTuple):
    """A port of 127.0.0.1, and the token that each call needs there."""

    port: int
    token: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata to send with each call."""
        return ((KEY, f"Bearer {self.token}"),)


def read_address(path: str) -> Address | None:
    """Return the address in a file, or None if the file is missing or holds no address.

    Raise StepRunnerError for a file of another user, because calls would go to that user's server.
    """
    try:
        return _read(path)
    except (OSError, ValueError):
        return None


def _read(path: str) -> Address:
    """Return the address in a file. Raise ValueError if it holds another text, OSError, and as `read_address`."""
    with open(path, encoding="ascii") as file:
        if not private.is_trusted(file.fileno()):
            raise StepRunnerError(f"{path} belongs to another user, so nothing was sent to it: name another --socket")
        host, port, token = file.read(LONGEST_FILE).replace(":", " ").split()
    if host != HOST:
        raise ValueError(f"{host} is not this machine")
    return Address(int(port), token)


def connect(address: Address) -> socket.socket:
    """Return a connection to a server's port. Raise OSError if no server listens."""
    return socket.create_connection((HOST, address.port), timeout=TRY)


def is_listening(path: str) -> bool:
    """Return whether the server that wrote its address to a file still listens, and no other one has its port."""
    address = read_address(path)
    if address is None:
        return False
    try:
        connect(address).close()
    except OSError:
        return False
    with grpc.insecure_channel(f"{HOST}:{address.port}", DIRECTLY) as own:
        try:
            next(own.unary_stream(ADMISSION)(b"0", metadata=address.metadata, timeout=TRY))
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # the server is busy
    return True


def make_free(path: str) -> None:
    """Make sure that a server can write its address to `path`. Raise StepRunnerError if it cannot."""
    if not os.path.exists(path):
        return
    if read_address(path) is None:
        raise StepRunnerError(f"opening socket: {path} exists and is not an address: choose another --socket")
    if is_listening(path):
        raise StepRunnerError(f"opening socket: {path}: address already in use: another server listens there")
    os.unlink(path)


class TokenAuth:
    """Accepts calls that have the token, and calls of connections that were admitted with it."""

    def __init__(self) -> None:
        self._token = secrets.token_hex(32)
        self._admitted: set[str] = set()

    @contextlib.contextmanager
    def opened(self, server: grpc.aio.Server, path: str) -> Iterator[None]:
        """Listen on any free port, and keep the address at `path` while the block runs. Raise StepRunnerError."""
        make_free(path)
        calls = {ADMIT: grpc.unary_stream_rpc_method_handler(self._admit)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, calls),))
        try:
            port = server.add_insecure_port(f"{HOST}:0")
            private.create(path, f"{HOST}:{port} {self._token}\n".encode())
        except (OSError, RuntimeError) as error:
            raise StepRunnerError(f"opening socket: {path}: {error}") from error
        try:
            yield
        finally:
            # Windows refuses it while a client reads the file; the next server finds that the address is stale.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                os.unlink(path)

    async def check(self, context: grpc.aio.ServicerContext) -> None:
        """Refuse a call without the token, unless its connection was admitted."""
        given = dict(context.invocation_metadata() or ()).get(KEY, "")
        known = hmac.compare_digest(str(given).encode(), f"Bearer {self._token}".encode())
        if not known and context.peer() not in self._admitted:
            advice = "send the token from the --socket file"
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"unauthenticated: {advice}")

    async def _admit(self, request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        """Admit the connection from a port for as long as this call lasts."""
        await self.check(context)
        peer = f"ipv4:{HOST}:{int(request)}"
        self._admitted.add(peer)
        try:
            yield b""
            await asyncio.Event().wait()
        finally:
            self._admitted.discard(peer)


class WithToken(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[misc]
    """Sends the token with every call."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = (*(details.metadata or ()), *self._address.metadata)
        return continuation(details._replace(metadata=metadata), request)

    intercept_unary_stream = intercept_unary_unary


def channel(path: str) -> grpc.Channel:
    """Return a channel to the server that a file names. Raise StepRunnerError for a file of another user."""
    address = read_address(path)
    if address is None:  # calls then report that no server listens
        return grpc.insecure_channel(f"{HOST}:0")
    return grpc.intercept_channel(grpc.insecure_channel(f"{HOST}:{address.port}", DIRECTLY), WithToken(address))


@contextlib.contextmanager
def awaited(path: str, given_up: threading.Event) -> Iterator[socket.socket]:
    """Yield as `admitted` once a server listens; raise its last OSError after `given_up` is set."""
    with contextlib.ExitStack() as admission:
        connection, pause = None, FIRST_PAUSE
        while connection is None:
            try:
                connection = admission.enter_context(admitted(path))
            except (FileNotFoundError, ConnectionRefusedError, TimeoutError):
                if given_up.wait(pause):
                    raise
            pause = min(pause * 1.5, LONGEST_PAUSE)
        yield connection


@contextlib.contextmanager
def admitted(path: str) -> Iterator[socket.socket]:
    """Yield a connection that needs no token for its calls while the block runs. Raise OSError if that fails."""
    try:
        address = _read(path)
    except ValueError:
        raise OSError(errno.EINVAL, "it is not an address", path) from None
    with connect(address) as connection, grpc.insecure_channel(f"{HOST}:{address.port}", DIRECTLY) as own:
        port = connection.getsockname()[1]
        admission = own.unary_stream(ADMISSION)(b"%d" % port, metadata=address.metadata)
        try:
            next(admission)
        except grpc.RpcError as error:
            raise PermissionError(13, error.details(), path) from error
        connection.settimeout(None)
        yield connection
        admission.cancel()
