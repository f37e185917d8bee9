"""Unix sockets of servers: where they lie, and whether somebody listens."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from typing import TYPE_CHECKING
from urllib.parse import quote

from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONGEST_PATH = 107
"""Bytes of a socket's path on Linux: `sun_path` of unix(7) less the final NUL; macOS has 103."""


def check_length(path: str) -> None:
    """Raise StepRunnerError for a path that cannot be a socket's."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise StepRunnerError(f"opening socket: {path} is longer than {LONGEST_PATH} bytes: choose a shorter --socket")


def target(path: str) -> str:
    """The name by which gRPC knows the socket at a path: a URI, whose path it decodes."""
    return f"unix:{quote(os.fsencode(path))}"


@contextlib.contextmanager
def placed(path: str, bind: Callable[[str], None]) -> Iterator[None]:
    """Have `bind` make a socket, which is at `path` while the block runs; raises what `make_free` does.

    It is made under another name: gRPC removes what has that name when it stops, and at `path` there may be the socket
    of another server by then.
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
    """Give a socket its name, unless another server has been faster. Raises StepRunnerError."""
    try:
        os.link(made, path)
    except FileExistsError:
        raise StepRunnerError(_in_use(path)) from None
    finally:
        os.unlink(made)


def _in_use(path: str) -> str:
    return f"opening socket: {path}: address already in use: another server listens there"


def make_free(path: str) -> None:
    """See that a server can listen on `path`: a socket that nobody listens on any more is removed.

    Raises StepRunnerError where somebody listens on it, where it is no socket or belongs to another user, or where
    the path cannot be a socket's.
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
    """Whether a process accepts connections on a socket; also where this user may not connect to it."""
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
        raise StepRunnerError(f"opening socket: there is no directory {directory}: make it, or choose another --socket")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StepRunnerError(f"opening socket: {directory}: permission denied: choose another --socket")
