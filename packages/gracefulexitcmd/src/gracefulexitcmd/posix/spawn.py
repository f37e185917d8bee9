"""Starts a process that can receive its signals, even if its parent blocks or ignores them.

A process inherits the signal mask and the ignored signals, execve(2). `subprocess` cannot change them. If this process
unblocked a signal during a fork, the wrong thread could handle it. posix_spawn(3) sets both in the child alone. It can
also start the child in a control group, so that no process of the command is ever outside of it. It takes 0.08 ms less
than `subprocess`, which encodes the variables one by one and has the child search for the program.
`os.posix_spawn` cannot change the directory, and cannot close unknown descriptors before Python 3.13.
"""

from __future__ import annotations

# The functions of `signal` turn numbers into enums and back.
import _signal  # type: ignore[import-not-found]
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
from itertools import compress, repeat
from operator import is_

from gracefulexitcmd.handlers import NUMBERS
from gracefulexitcmd.posix import process_table
from gracefulexitcmd.posix.environment import passed, strings
from gracefulexitcmd.typed import Protocol

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import IO, Any

    from gracefulexitcmd.posix.cgroup import Cgroup
    from gracefulexitcmd.request import Stream, StrPath

DEFAULT_FOR_CHILDREN = ("SIGPIPE", "SIGXFSZ")
"""Signals that Python ignores and `subprocess` resets to their default action in a child."""

SETPGROUP, SETSIGDEF, SETSIGMASK = 2, 4, 8
"""Flags of posix_spawnattr_setflags(3): the same for glibc, musl and macOS."""

SETCGROUP = 0x100
"""The flag of glibc 2.39 for `posix_spawnattr_setcgroup_np`: clone3(2) then gets CLONE_INTO_CGROUP."""

ROOM = 1024
"""Bytes for a posix_spawnattr_t, posix_spawn_file_actions_t or sigset_t; glibc's take 336, 80 and 128."""

CLOSEFROM = "posix_spawn_file_actions_addclosefrom_np"
"""A function of glibc 2.34; musl lacks it."""

FIRST_FREE = 3
"""The first descriptor after the standard ones."""

_Room = ctypes.c_char * ROOM


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
            _abandoned.add(self.pid)

    def wait(self) -> int:
        """Wait until it ends and return its status; 0 if another thread reaped it."""
        if self.returncode is None:
            self.returncode = _reaped(self.pid, 0)
        return self.returncode or 0


_abandoned: set[int] = set()
"""Children whose object was dropped before their end was known: as in `subprocess`, a later start reaps them."""


def _reaped(pid: int, options: int) -> int | None:
    """Return the status of a child, which is 0 if another thread reaped it; with WNOHANG None while it runs."""
    try:
        found, status = os.waitpid(pid, options)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if found else None


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
    heard: tuple[int, ...],
    group: Cgroup | None = None,
) -> Spawned:
    """Start a command in a process group of its own, with an empty mask and default actions for the signals `heard`.

    The arguments are those of `subprocess.Popen`. `streams` are stdin, stdout and stderr, none of them a PIPE; the
    child has no descriptors above them. It starts in the control group `group`, which needs glibc 2.39. Raise OSError
    with the file that caused it, and ValueError for arguments or variables that cannot be passed.
    """
    for abandoned in tuple(_abandoned):
        if _reaped(abandoned, os.WNOHANG) is not None:
            _abandoned.discard(abandoned)
    words, variables = list(map(os.fsencode, argv)), passed(env)
    directory = None if cwd is None else _checked(os.fsencode(cwd))
    _checked(b"".join(words))
    attributes, copies = _attributes(heard, _ignored()), list[int]()
    try:
        if group is not None:
            copies.append(os.open(group.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            attributes = _inside(copies[-1], attributes)
        inner = [None if one is None else _descriptor(one, copies) for one in _resolved(streams)]
        actions = _actions(tuple(inner), directory)
        arguments = (actions.content, attributes, strings(words), variables.strings)
        sys.audit("os.posix_spawn", argv[0], argv, env)
        pid, reason = ctypes.c_int(), 0
        for path in _candidates(words[0], env):
            failure = libc().posix_spawn(ctypes.byref(pid), path, *arguments)
            if failure == 0 and (group is None or not _was_killed_at_birth(pid.value)):
                return Spawned(pid.value)
            failure = failure or errno.ECANCELED
            if reason in (0, errno.ENOENT, errno.ENOTDIR):  # as execvp(3): another error says more
                reason = failure
    finally:
        for copy in copies:
            os.close(copy)
    raise _failed(reason, argv[0], cwd)


def _was_killed_at_birth(pid: int) -> bool:
    """Reap a child that was killed before it executed its program; return whether it was.

    Since 6.14 and its stable releases Linux kills a child at once if its new group and the one of its parent were not
    killed equally often by `cgroup.kill`: cgroup_css_set_fork in kernel/cgroup/cgroup.c notes the count of the
    parent's group, and cgroup_post_fork compares it with that of the new one. The parent continues just before the
    child is a zombie, or loses the flag in begin_new_exec (fs/exec.c), so wait for either.
    """
    with contextlib.suppress(OSError):
        while True:
            state, *_, flags = process_table.content(f"/proc/{pid}/stat").rpartition(b") ")[2].split(None, 7)[:7]
            if not int(flags) & process_table.PF_FORKNOEXEC:
                return False
            if state == b"Z":
                return os.waitpid(pid, 0)[0] == pid
            os.sched_yield()
    return False


def _failed(reason: int, program: str, cwd: StrPath | None) -> OSError:
    """Return the error with the file that caused it: posix_spawn(3) returns an errno, but not the call that failed."""
    if cwd is not None:
        try:
            os.stat(os.fsencode(cwd) and os.path.join(os.fsencode(cwd), b"."))  # fails as chdir(2) does
        except OSError as error:
            return OSError(error.errno, error.strerror, cwd)
    return OSError(reason, os.strerror(reason), program)


def _candidates(program: bytes, env: Mapping[Any, Any]) -> Iterator[bytes]:
    """Yield the paths to try for a program, those of its files in the directories of PATH.

    A relative path refers to the child's directory. If no file is seen, the attempts tell why.
    """
    if b"/" in program:
        yield program
        return
    value = os.fsencode(env.get("PATH", env.get(b"PATH", os.defpath)))
    found = False
    paths = [(one if one.endswith(b"/") or not one else one + b"/") + program for one in value.split(b":")]
    for path in paths:
        if not path.startswith(b"/") or os.access(path, os.F_OK):
            found = True
            yield path
    if not found:
        yield from paths


def _checked(text: bytes) -> bytes:
    """Return a text that ctypes can pass, which would cut it at a NUL. Raise ValueError if it has one."""
    if b"\0" in text:
        raise ValueError("embedded null byte")
    return text


def _resolved(streams: Sequence[Stream]) -> list[Stream]:
    """Return the streams; for stderr replace STDOUT by the stream or descriptor of stdout."""
    stdin, stdout, stderr = streams
    same = stdout if stdout is not None else 1
    return [stdin, stdout, same if stderr == subprocess.STDOUT else stderr]


def _descriptor(stream: int | IO[Any], copies: list[int]) -> int:
    """Return a descriptor above the standard ones, so that these can be set one by one.

    It is appended to `copies` if it must be closed after the start.
    """
    if stream == subprocess.DEVNULL:
        copies.append(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        stream = copies[-1]
    number = stream if isinstance(stream, int) else stream.fileno()
    if number >= FIRST_FREE:
        return number
    copies.append(fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE))
    return copies[-1]


def _ignored() -> tuple[int, ...]:
    """Return the signals that this process ignores, as Python knows."""
    return tuple(compress(NUMBERS, map(is_, map(_signal.getsignal, NUMBERS), repeat(_signal.SIG_IGN))))


@functools.cache
def _attributes(heard: tuple[int, ...], ignored: tuple[int, ...]) -> ctypes.Array[ctypes.c_char]:
    """Return the attributes of a child, which are never destroyed: there are few stop sequences and sets of signals.

    The default action is set for all signals that are not ignored. A child would have it anyway after its exec, but
    glibc asks the kernel about each signal that is not named here, which takes a fiftieth of a start.
    """
    defaults = {getattr(signal, name) for name in DEFAULT_FOR_CHILDREN if hasattr(signal, name)}
    defaults.update(heard, set(NUMBERS).difference(ignored))
    attributes, c = _Room(), libc()
    _check(c.posix_spawnattr_init(attributes))
    c.posix_spawnattr_setflags(attributes, ctypes.c_short(SETPGROUP | SETSIGDEF | SETSIGMASK))
    c.posix_spawnattr_setpgroup(attributes, 0)
    c.posix_spawnattr_setsigmask(attributes, _signal_set(()))
    c.posix_spawnattr_setsigdefault(attributes, _signal_set(defaults))
    return attributes


def _inside(group: int, attributes: ctypes.Array[ctypes.c_char]) -> ctypes.Array[ctypes.c_char]:
    """Return a copy of glibc's attributes, which hold no pointer, with the descriptor of a control group."""
    copy = _Room.from_buffer_copy(attributes)
    libc().posix_spawnattr_setflags(copy, ctypes.c_short(SETPGROUP | SETSIGDEF | SETSIGMASK | SETCGROUP))
    _check(libc().posix_spawnattr_setcgroup_np(copy, group))
    return copy


class _Actions:
    """The actions of a child before its exec: a posix_spawn_file_actions_t."""

    def __init__(self, streams: tuple[int | None, ...], cwd: bytes | None) -> None:
        """Prepare it. Raise OSError if there is no memory for it."""
        self.content = _Room()
        _check(libc().posix_spawn_file_actions_init(self.content))
        for number, stream in enumerate(streams):
            if stream is not None:
                _check(libc().posix_spawn_file_actions_adddup2(self.content, stream, number))
        _close_others(self.content)
        if cwd is not None:
            _check(libc().posix_spawn_file_actions_addchdir_np(self.content, cwd))

    def __del__(self) -> None:
        libc().posix_spawn_file_actions_destroy(self.content)


_kept = functools.lru_cache(maxsize=16)(_Actions)


def _actions(streams: tuple[int | None, ...], cwd: bytes | None) -> _Actions:
    """Return new actions, or those of an earlier child if they say nothing of descriptors that others have opened."""
    return _kept(streams, cwd) if hasattr(libc(), CLOSEFROM) else _Actions(streams, cwd)


def _close_others(actions: ctypes.Array[ctypes.c_char]) -> None:
    """Close all descriptors above the standard ones in the child; those that Python opened have FD_CLOEXEC."""
    c = libc()
    if hasattr(c, CLOSEFROM):
        _check(c.posix_spawn_file_actions_addclosefrom_np(actions, FIRST_FREE))
        return
    for number in map(int, os.listdir("/dev/fd")):
        with contextlib.suppress(OSError):  # the descriptor of the listing is closed already
            if number >= FIRST_FREE and os.get_inheritable(number):
                _check(c.posix_spawn_file_actions_addclose(actions, number))


def _signal_set(numbers: Iterable[int]) -> ctypes.Array[ctypes.c_char]:
    signals = _Room()
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
