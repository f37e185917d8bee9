"""Databases that are stopped while a client is connected and idle."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import time
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from tests.tools.stopping import READY, Seen, stopped
from tests.tools.toolbox import debian_system, within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POSTGRES = "postgresql-15=15.20-0+deb12u1"
MARIADB = "mariadb-server-core=1:10.11.19-0+deb12u1"
UNPRIVILEGED = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
"""Postgres refuses to run as root."""
PARAMETERS = b"user\0me\0database\0postgres\0\0"
START = struct.pack("!ii", 8 + len(PARAMETERS), 3 << 16) + PARAMETERS
"""The first message of a client of postgres: its length, the version of the protocol, and parameters."""
IDLE = b"Z\0\0\0\5I"
"""The message of postgres that it is ready for a query."""


@contextlib.contextmanager
def idle_client(path: Path, log: Path, hello: bytes, until: bytes) -> Iterator[None]:
    """Connect as soon as the server listens, note that as "ready", and stay connected."""
    connections: list[socket.socket] = []

    def connect() -> None:
        deadline = time.monotonic() + READY
        while time.monotonic() < deadline:
            client = socket.socket(socket.AF_UNIX)
            connections.append(client)
            with contextlib.suppress(OSError):
                client.connect(str(path))
                client.sendall(hello)
                if _received(client, until):
                    log.write_text("ready 0\n")
                    return
            time.sleep(0.1)

    thread = Thread(target=connect)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        for connection in connections:
            connection.close()


def _received(client: socket.socket, until: bytes) -> bool:
    got = b""
    while until not in got and (more := client.recv(4096)):
        got += more
    return until in got


def stop_postgres(log: Path, how: str) -> tuple[Seen, str]:
    """Stop postgres with an idle client; return the observation, and the state of its files."""
    root, data = debian_system(POSTGRES), log.parent / "data"

    def postgres(program: str, *arguments: str | Path) -> tuple[str, ...]:
        return within(root, *UNPRIVILEGED, f"/usr/lib/postgresql/15/bin/{program}", "-D", data, *arguments)

    initial = postgres("initdb", "--no-sync", "--auth=trust", "--username=me")
    subprocess.run(initial, check=True, stdout=subprocess.DEVNULL)
    with idle_client(log.parent / ".s.PGSQL.5432", log, START, IDLE):
        seen = stopped(postgres("postgres", "-k", log.parent, "-c", "listen_addresses="), how, log)
    control = subprocess.run(postgres("pg_controldata"), check=True, stdout=subprocess.PIPE, text=True).stdout
    state = next(line for line in control.splitlines() if line.startswith("Database cluster state:"))
    return seen, state.partition(":")[2].strip()


@pytest.mark.parametrize("how", ["product", "interrupt"])
def test_postgres_shuts_down_when_backends_get_signal(how: str, log: Path) -> None:
    """The default, and SIGINT, end it cleanly: exit status 0."""
    seen, state = stop_postgres(log, how)
    assert (seen.status, state) == (0, "shut down")


@pytest.mark.parametrize("how", ["leader", "group"])
def test_postgres_waits_for_idle_clients(how: str, log: Path) -> None:
    """SIGTERM to it alone, or to its group, waits for the client until SIGKILL; the next start has to recover."""
    seen, state = stop_postgres(log, how)
    assert (seen.status, state) == (None, "in production")


def stop_mariadb(log: Path, how: str) -> Seen:
    """Stop mariadb with an idle client."""
    (log.parent / "data").mkdir()
    server = ("mariadbd", "--no-defaults", "--user=root", "--skip-networking", "--skip-grant-tables")
    # Its socket's path may have no more than 107 bytes; a relative one is one of its directory of data.
    places = ("--datadir", log.parent / "data", "--socket", "socket")
    with idle_client(log.parent / "data/socket", log, b"", b"mysql_native_password"):
        return stopped(within(debian_system(MARIADB), *server, *places), how, log)


@pytest.mark.parametrize("how", ["leader", "group", "product"])
def test_mariadb_shuts_down_and_exits_0(how: str, log: Path) -> None:
    """SIGTERM is a clean shutdown, also with a client that is idle."""
    assert stop_mariadb(log, how).status == 0


def test_mariadb_ignores_sigint(log: Path) -> None:
    """With `stop: {signal: SIGINT}` it serves until SIGKILL."""
    assert stop_mariadb(log, "interrupt").status == -9
