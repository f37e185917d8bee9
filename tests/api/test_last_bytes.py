"""The last bytes of a connection, seen by a client that speaks HTTP/2 by hand, RFC 9113."""

from __future__ import annotations

import signal
import socket
import struct
from typing import TYPE_CHECKING

from step_runner.api.pb import step_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    from tests.api.conftest import Server

TRAP = "trap 'echo cleaned up; exit 0' TERM; echo ready; while :; do sleep 0.02; done"

DATA, HEADERS, SETTINGS, PING, GOAWAY = 0, 1, 4, 6, 7
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def frames(reader: IO[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """Yield the kind, flags and payload of each frame until the end of the connection."""
    while len(head := reader.read(9)) == 9:
        length, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
        yield kind, flags, reader.read(length)


def call(method: str, message: bytes) -> bytes:
    """Return the frames of a call with one message; headers are literals that no table holds, RFC 7541 6.2.2."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/proto.StepRunner/{method}",
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    block = b"".join(b"\0%c%b%c%b" % (len(n), n.encode(), len(v), v.encode()) for n, v in headers.items())
    body = b"\0" + struct.pack(">I", len(message)) + message
    return frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, body)


def test_stopped_server_waits_until_followers_have_read(serve: Callable[..., Server]) -> None:
    """The server asks by a ping after the last byte of the log, and closes the connection after the answer."""
    server = serve()
    job = server.start_ready(TRAP)
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as reader:
        connection.connect(server.path)
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS))
        connection.sendall(call("FollowLogs", pb.FollowLogsRequest(id=job).SerializeToString()))
        seen = []
        for kind, flags, payload in frames(reader):
            seen.append((kind, flags, payload))
            if kind == DATA and b"ready" in payload:
                server.process.send_signal(signal.SIGTERM)
            if kind == PING and not flags & ACK:
                connection.sendall(frame(PING, ACK, payload=payload))

    log = [index for index, (kind, _, payload) in enumerate(seen) if kind == DATA and b"cleaned up" in payload]
    ends = [index for index, (kind, flags, _) in enumerate(seen) if kind in (DATA, HEADERS) and flags & END_STREAM]
    pings = [index for index, (kind, flags, _) in enumerate(seen) if kind == PING and not flags & ACK]
    assert log[-1] <= ends[0] < pings[-1]
    assert server.wait() == 0
