"""Checks the user of a server before anything is sent: in a shared directory any user can make the socket."""

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
"""Seconds for a server to accept a connection: while its backlog is full, connect(2) waits."""

LOCAL_PEERCRED = 1
"""getsockopt(2) of macOS and the BSDs, level 0: a struct xucred, which holds a version and then the user."""


def check(connection: socket.socket, path: str, owner: int | None = None) -> None:
    """Raise StepRunnerError unless the server runs as this user, as root or as the user with the number `owner`."""
    user = _user(connection)
    if user not in (os.getuid(), ROOT, owner):
        raise StepRunnerError(
            f"the server on {path} belongs to {_named(user)}, so nothing was sent to it: name another --socket,"
            f" or trust this user with --socket-owner {user}"
        )


@contextlib.contextmanager
def checked(path: str, owner: int | None = None) -> Iterator[str]:
    """Check the server of a socket as `check` does, and yield a path to exactly this socket. Raise OSError without one.

    On Linux the path is that of an open descriptor, so no process can replace the socket. No other socket can ever
    listen at that file, because bind(2) creates a new one.
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
            # Without SO_SNDTIMEO connect(2) waits for ever. Python's own timeout makes the socket non-blocking instead.
            seconds, rest = divmod(PATIENCE, 1)
            limit = struct.pack("2l", int(seconds), int(rest * 1_000_000))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            connection.connect(place)
            check(connection, path, owner)
        yield place


def _user(connection: socket.socket) -> int:
    """Return the user of the listening process at its call of listen(2): unix(7)."""
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
