"""Unix sockets of servers: their paths, and whether a server listens on them."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import grpc

LONGEST_PATH = 107
"""Bytes of a socket's path on Linux: `sun_path` of unix(7) without the final NUL; macOS has 103."""


def check_length(path: str) -> None:
    """Raise StepRunnerError for a path that is too long for a socket."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise StepRunnerError(f"opening socket: {path} is longer than {LONGEST_PATH} bytes: choose a shorter --socket")


def target(path: str) -> str:
    """Return gRPC's name of the socket at a path: a URI with an encoded path, which gRPC decodes."""
    return f"unix:{quote(os.fsencode(path))}"


class OwnerOnly:
    """Lets only the owner of a socket call the server.

    Each user with write permission can connect, unix(7), and a call can run any command.
    """

    def __init__(self) -> None:
        """Raise StepRunnerError if the user's limits leave no room for a server: gRPC would end the process."""
        from step_runner.api.limits import check_limits

        check_limits()

    async def check(self, _context: grpc.aio.ServicerContext) -> None:
        """Accept each call: only the owner can connect."""

    def opened(self, server: grpc.aio.Server, path: str) -> AbstractContextManager[None]:
        """Have the server listen on the socket `path` while the block runs. Raise StepRunnerError if it cannot."""
        return placed(path, partial(_bind, server))


def _bind(server: grpc.aio.Server, path: str) -> None:
    before = os.umask(0o177)
    try:
        server.add_insecure_port(target(path))
    except RuntimeError as error:
        raise StepRunnerError(f"opening socket: {path}: {error}") from error
    finally:
        os.umask(before)


@contextlib.contextmanager
def placed(path: str, bind: Callable[[str], None]) -> Iterator[None]:
    """Let `bind` make a socket, and keep it at `path` while the block runs. Raise as `make_free`.

    `bind` gets another name: when gRPC stops, it removes the file with that name. By then `path` may be the socket of
    another server.
    """
    make_free(path)
    directory = os.path.dirname(path)
    made = os.path.join(directory, os.urandom(8).hex()[: LONGEST_PATH - len(os.fsencode(directory)) - 1])
    bind(made)
    own = os.lstat(made).st_ino
    _move(made, path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if os.lstat(path).st_ino == own:
                os.unlink(path)


def _move(made: str, path: str) -> None:
    """Give a socket its final name. Raise StepRunnerError if another server was faster."""
    try:
        os.link(made, path)
    except FileExistsError:
        raise StepRunnerError(_in_use(path)) from None
    finally:
        os.unlink(made)


def _in_use(path: str) -> str:
    return f"opening socket: {path}: address already in use: another server listens there"


def make_free(path: str) -> None:
    """Make sure that a server can listen on `path`: remove a socket on which no server listens.

    Raise StepRunnerError if a server listens on it, if it is not a socket or belongs to another user, or if the path
    is too long or cannot be written.
    """
    check_length(path)
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        _check_directory(path)
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise StepRunnerError(f"opening socket: {path} exists and is not a socket: choose another --socket")
    if found.st_uid != os.getuid():
        raise StepRunnerError(f"opening socket: {path} belongs to another user: choose another --socket")
    if is_listening(path):
        raise StepRunnerError(_in_use(path))
    os.unlink(path)


def is_listening(path: str) -> bool:
    """Return whether a process listens on a socket, even one to which this user may not connect."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _check_directory(path: str) -> None:
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise StepRunnerError(
            f"opening socket: directory {directory} does not exist: create it, or choose another --socket"
        )
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StepRunnerError(f"opening socket: {directory}: permission denied: choose another --socket")
