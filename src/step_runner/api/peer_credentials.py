"""Asks who listens on a socket, before anything is sent there: in a directory for all, anybody may have put it."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from typing import TYPE_CHECKING

from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = 0

PATIENCE = 30.0
"""Seconds for a server to take a connection: where its queue is full, connect(2) waits."""

LOCAL_PEERCRED = 1
"""getsockopt(2) of macOS and the BSDs, level 0: a struct xucred, whose user stands behind a version."""


def check(connection: socket.socket, path: str, owner: int | None = None) -> None:
    """Raise StepRunnerError unless the server at the other end runs as this user, as root or as the user `owner`."""
    user = _user(connection)
    if user not in (os.getuid(), ROOT, owner):
        raise StepRunnerError(
            f"the server on {path} belongs to {_named(user)}, and gets nothing from you: name another --socket,"
            f" or trust this user with --socket-owner {user}"
        )


@contextlib.contextmanager
def checked(path: str, owner: int | None = None) -> Iterator[str]:
    """Give the path of exactly the socket whose server was checked as `check` does; raises OSError without a server.

    On Linux the path is that of an open descriptor, so that nobody can put another socket into its place. One socket
    only can ever listen there: to bind(2) makes the file.
    """
    with contextlib.ExitStack() as held:
        place = path
        if hasattr(os, "O_PATH"):
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            held.callback(os.close, descriptor)
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                raise OSError(errno.ENOTSOCK, "it is not a socket: name another --socket")
            same = f"/proc/self/fd/{descriptor}"
            place = same if os.path.exists(same) else path
        with socket.socket(socket.AF_UNIX) as connection:
            # Else connect(2) waits for ever; with a timeout of Python's the socket does not wait at all.
            seconds, rest = divmod(PATIENCE, 1)
            limit = struct.pack("2l", int(seconds), int(rest * 1_000_000))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            connection.connect(place)
            check(connection, path, owner)
        yield place


def _user(connection: socket.socket) -> int:
    """The user that the listening process had when it began to listen, unix(7)."""
    if hasattr(socket, "SO_PEERCRED"):
        _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    else:
        _, user = struct.unpack_from("2I", connection.getsockopt(0, LOCAL_PEERCRED, 76))
    return int(user)


def _named(user: int) -> str:
    import pwd

    try:
        return f"the user {pwd.getpwuid(user).pw_name}"
    except KeyError:
        return f"the user {user}"
