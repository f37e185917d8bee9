"""Connects to the socket of a server as soon as the server listens."""

from __future__ import annotations

import errno
import os
import select
import shlex
import socket
import stat
from typing import TYPE_CHECKING

from step_runner.api import peer_credentials
from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST_PAUSE = 0.01
LONGEST_PAUSE = 0.1
"""Seconds between two attempts: each pause is 1.5 times the one before."""

MOST_HELD = 64 * 1024
"""Bytes of stdin to read ahead: an HTTP/2 client sends less than this before the server's first bytes."""

NOT_YET = (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN)
"""Errors of connect(2) to retry: no socket yet, no server that listens on it, or a full backlog."""

ENDED = select.POLLHUP | select.POLLERR | select.POLLNVAL


def connect_when_ready(paths: Sequence[str], source: int, owner: int | None = None) -> tuple[socket.socket, bytes]:
    """Wait until a server accepts on one of these sockets; return the connection, and the bytes read from `source`.

    Raise StepRunnerError if `source` ends first, if no server can listen there, or if the server runs as a user other
    than this one, root or `owner`.
    """
    held = b""
    pause = FIRST_PAUSE
    poll = select.poll()
    poll.register(source, select.POLLIN)
    while isinstance(connected := _first_connected(paths, owner), OSError):
        for _, events in poll.poll(pause * 1000):
            chunk = _read(source, MOST_HELD - len(held)) if events & select.POLLIN else b""
            held += chunk
            if not chunk or events & ENDED:
                raise _failed(paths[0], connected)
        if len(held) == MOST_HELD:
            poll.modify(source, 0)  # poll(2) reports POLLHUP all the same
        pause = min(pause * 1.5, LONGEST_PAUSE)
    return connected, held


def _first_connected(paths: Sequence[str], owner: int | None) -> socket.socket | OSError:
    """Return a connection to the first socket with a server, else the error of the first. Raise as its caller."""
    failures: list[OSError] = []
    for path in paths:
        connected = _connected(path, owner)
        if not isinstance(connected, OSError):
            return connected
        failures.append(connected)
    return failures[0]


def _connected(path: str, owner: int | None) -> socket.socket | OSError:
    """Return a connection, or the error if a retry may succeed. Raise StepRunnerError if none can."""
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    try:
        connection.connect(path)
        peer_credentials.check(connection, path, owner)
    except StepRunnerError:
        connection.close()
        raise
    except OSError as error:
        connection.close()
        if error.errno not in NOT_YET:
            raise _failed(path, error) from error
        if error.errno == errno.ECONNREFUSED and not _is_socket(path):
            raise _failed(path, OSError(errno.ENOTSOCK, "it is not a socket")) from error
        return error
    return connection


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:  # the socket was removed meanwhile: the next attempt reports that
        return True


def _read(source: int, most: int) -> bytes:
    try:
        return os.read(source, most)
    except OSError:  # a terminal that hung up
        return b""


def _failed(path: str, error: OSError) -> StepRunnerError:
    reason = (error.strerror or str(error)).lower()
    advice = f"start a server with: step-runner serve --socket {shlex.quote(path)}"
    return StepRunnerError(f"dialing: {path}: {reason}: {advice}")
