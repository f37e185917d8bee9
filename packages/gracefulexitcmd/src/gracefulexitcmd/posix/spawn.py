"""Starts a process that can receive its signals, even if its parent blocks or ignores them.

A process inherits the signal mask and the ignored signals, execve(2). `subprocess` cannot change them. If this process
unblocked a signal during a fork, the wrong thread could handle it. posix_spawn(3) sets both in the child alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import signal
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gracefulexitcmd.request import Stream, StrPath

DEFAULT_FOR_CHILDREN = ("SIGPIPE", "SIGXFSZ")
"""Signals that Python ignores and `subprocess` resets to their default action in a child."""

SETPGROUP, SETSIGDEF, SETSIGMASK = 2, 4, 8
"""Flags of posix_spawnattr_setflags(3): the same for glibc, musl and macOS."""

ROOM = 1024
"""Bytes for a posix_spawnattr_t, posix_spawn_file_actions_t or sigset_t; glibc's take 336, 80 and 128."""

FIRST_FREE = 3
"""The first descriptor after the standard ones."""


class Child(Protocol):
    """A child that has not been reaped, such as a `subprocess.Popen`."""

    pid: int
    returncode: int | None

    def wait(self) -> int:
        """Wait until it ends and return its status."""


class Spawned:
    """A child that posix_spawn(3) has started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def __del__(self) -> None:
        if self.returncode is None:
            warnings.warn(f"subprocess {self.pid} is still running", ResourceWarning, source=self, stacklevel=2)

    def wait(self) -> int:
        """Wait until it ends and return its status; 0 if another thread reaped it."""
        if self.returncode is None:
            self.returncode = 0
            with contextlib.suppress(ChildProcessError):
                self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


def can_spawn(cwd: StrPath | None) -> bool:
    """Return whether `spawn` works here; another directory needs glibc 2.29, musl 1.1.24 or macOS 10.15."""
    if sys.platform not in ("linux", "darwin"):  # FreeBSD has other numbers for the flags
        return False
    return cwd is None or hasattr(libc(), "posix_spawn_file_actions_addchdir_np")


def spawn(
    argv: Sequence[str],
    env: Mapping[str, str] | Mapping[bytes, bytes],
    cwd: StrPath | None,
    streams: Sequence[Stream],
    heard: Iterable[int],
) -> Spawned:
    """Start a command in a process group of its own, with an empty mask and default actions for the signals `heard`.

    The arguments are those of `subprocess.Popen`. `streams` are stdin, stdout and stderr, none of them a PIPE; the
    child has no descriptors above them. Raise OSError with the file that caused it, and ValueError for arguments or
    variables that cannot be passed.
    """
    words = _strings(argv)
    variables = _strings([_checked(os.fsencode(name)) + b"=" + os.fsencode(value) for name, value in env.items()])
    defaults = [getattr(signal, name) for name in DEFAULT_FOR_CHILDREN if hasattr(signal, name)]
    with contextlib.ExitStack() as undo:
        attributes = undo.enter_context(_attributes({*defaults, *heard}))
        actions = undo.enter_context(_file_actions([_descriptor(one, undo) for one in _resolved(streams)], cwd))
        reason = 0
        for path in _candidates(argv[0], env):
            pid = ctypes.c_int()
            failure = libc().posix_spawn(ctypes.byref(pid), os.fsencode(path), actions, attributes, words, variables)
            if failure == 0:
                return Spawned(pid.value)
            if reason in (0, errno.ENOENT, errno.ENOTDIR):  # as execvp(3): another error says more
                reason = failure
    raise _failed(reason, argv[0], cwd)


def _failed(reason: int, program: str, cwd: StrPath | None) -> OSError:
    """Return the error with the file that caused it: posix_spawn(3) returns an errno, but not the call that failed."""
    if cwd is not None:
        try:
            os.stat(os.path.join(cwd, "."))  # fails as chdir(2) does
        except OSError as error:
            return OSError(error.errno, error.strerror, os.fspath(cwd))
    return OSError(reason, os.strerror(reason), program)


def _candidates(program: str, env: Mapping[str, str] | Mapping[bytes, bytes]) -> list[str]:
    if os.path.dirname(program):
        return [program]
    paths = [os.path.join(directory, program) for directory in os.get_exec_path(env)]  # type: ignore[arg-type]
    return list(filter(_may_be_there, paths)) or paths[-1:]


def _may_be_there(path: str) -> bool:
    """Return whether to try a path; a relative one is always tried, as it refers to the child's directory."""
    try:
        return not os.path.isabs(path) or bool(os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True


def _checked(name: bytes) -> bytes:
    if b"=" in name:
        raise ValueError("illegal environment variable name")
    return name


def _strings(texts: Sequence[str] | Sequence[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    encoded = [os.fsencode(text) for text in texts]
    if any(b"\0" in one for one in encoded):
        raise ValueError("embedded null byte")
    return (ctypes.c_char_p * (len(encoded) + 1))(*encoded, None)


def _resolved(streams: Sequence[Stream]) -> list[Stream]:
    """Return the streams; for stderr replace STDOUT by the stream or descriptor of stdout."""
    stdin, stdout, stderr = streams
    same = stdout if stdout is not None else 1
    return [stdin, stdout, same if stderr == subprocess.STDOUT else stderr]


def _descriptor(stream: Stream, undo: contextlib.ExitStack) -> int | None:
    """Return a copy above the standard descriptors, so that they can be set one by one; None to inherit."""
    if stream is None:
        return None
    if stream == subprocess.DEVNULL:
        opened = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        undo.callback(os.close, opened)
        stream = opened
    number = stream if isinstance(stream, int) else stream.fileno()
    copy = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
    undo.callback(os.close, copy)
    return copy


@contextlib.contextmanager
def _attributes(defaults: Iterable[int]) -> Iterator[ctypes.Array[ctypes.c_char]]:
    attributes = ctypes.create_string_buffer(ROOM)
    c = libc()
    _check(c.posix_spawnattr_init(attributes))
    try:
        c.posix_spawnattr_setflags(attributes, ctypes.c_short(SETPGROUP | SETSIGDEF | SETSIGMASK))
        c.posix_spawnattr_setpgroup(attributes, 0)
        c.posix_spawnattr_setsigmask(attributes, _signal_set(()))
        c.posix_spawnattr_setsigdefault(attributes, _signal_set(defaults))
        yield attributes
    finally:
        c.posix_spawnattr_destroy(attributes)


@contextlib.contextmanager
def _file_actions(streams: Sequence[int | None], cwd: StrPath | None) -> Iterator[ctypes.Array[ctypes.c_char]]:
    actions = ctypes.create_string_buffer(ROOM)
    c = libc()
    _check(c.posix_spawn_file_actions_init(actions))
    try:
        for number, stream in enumerate(streams):
            if stream is not None:
                _check(c.posix_spawn_file_actions_adddup2(actions, stream, number))
        _close_others(actions)
        if cwd is not None:
            _check(c.posix_spawn_file_actions_addchdir_np(actions, os.fsencode(cwd)))
        yield actions
    finally:
        c.posix_spawn_file_actions_destroy(actions)


def _close_others(actions: ctypes.Array[ctypes.c_char]) -> None:
    """Close all descriptors above the standard ones in the child; those that Python opened have FD_CLOEXEC."""
    c = libc()
    if hasattr(c, "posix_spawn_file_actions_addclosefrom_np"):  # glibc 2.34
        _check(c.posix_spawn_file_actions_addclosefrom_np(actions, FIRST_FREE))
        return
    for number in map(int, os.listdir("/dev/fd")):
        with contextlib.suppress(OSError):  # the descriptor of the listing is closed already
            if number >= FIRST_FREE and os.get_inheritable(number):
                _check(c.posix_spawn_file_actions_addclose(actions, number))


def _signal_set(numbers: Iterable[int]) -> ctypes.Array[ctypes.c_char]:
    signals = ctypes.create_string_buffer(ROOM)
    libc().sigemptyset(signals)
    for number in numbers:
        libc().sigaddset(signals, int(number))
    return signals


def _check(failure: int) -> None:
    if failure:
        raise OSError(failure, os.strerror(failure))


@functools.cache
def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
