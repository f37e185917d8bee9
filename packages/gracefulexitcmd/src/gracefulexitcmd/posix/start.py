"""Starts the process of a command: by posix_spawn(3) where that can do it, else by `subprocess`."""

from __future__ import annotations

# The functions of `signal` turn numbers into enums and back.
import _signal  # type: ignore[import-not-found]
import contextlib
import os
import signal
import subprocess
import sys

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from gracefulexitcmd.posix.cgroup import Cgroup
    from gracefulexitcmd.posix.spawn import Child
    from gracefulexitcmd.request import Request, Stream


def start(
    request: Request,
    env: Mapping[str, str] | Mapping[bytes, bytes],
    streams: Sequence[Stream],
    group: Cgroup | None = None,
) -> tuple[Child, bool]:
    """Start the program of a request in a process group of its own; `streams` are stdin, stdout and stderr.

    Return the process, and whether it was started in the control group `group`: it starts outside if the kernel
    refuses that. Raise OSError and ValueError as `subprocess.Popen` does.
    """
    argv = [os.fspath(word) for word in request.argv]
    heard = tuple([int(stage.signal) for stage in request.stop if stage.signal is not signal.SIGKILL])
    if _asks_for_more(request) or not (sys.platform == "linux" or _would_miss(heard)):
        return _popen(request, argv, env, streams), False
    from gracefulexitcmd.posix import spawn  # ctypes costs a millisecond, which the import should not

    if group is not None:
        # posix_spawn(3) fails if its clone3(2) does: the group may be removed, threaded or not ours to write to, and a
        # seccomp filter may forbid the call. It does not tell that from a missing program, so the next way decides.
        with contextlib.suppress(OSError):
            return spawn.spawn(argv, env, request.cwd, streams, heard, group), True
    if not spawn.can_spawn(request.cwd):
        return _popen(request, argv, env, streams), False
    return spawn.spawn(argv, env, request.cwd, streams, heard), False


def _popen(
    request: Request, argv: list[str], env: Mapping[str, str] | Mapping[bytes, bytes], streams: Sequence[Stream]
) -> Child:
    stdin, stdout, stderr = streams
    return subprocess.Popen(
        argv,
        env=env,
        cwd=request.cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=request.pass_fds,
        user=request.user,
        group=request.group,
        extra_groups=request.extra_groups,
        umask=request.umask,
        process_group=0,
    )


def _would_miss(heard: Iterable[int]) -> bool:
    """Return whether a child would inherit a blocked signal, or one of `heard` that Python knows to be ignored."""
    blocked: Collection[int] = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    return bool(blocked) or _signal.SIG_IGN in map(_signal.getsignal, heard)


def _asks_for_more(request: Request) -> bool:
    """Return whether the request needs more than posix_spawn(3) offers; the child then inherits this thread's mask."""
    other_user = (request.user, request.group, request.extra_groups) != (None, None, None)
    return other_user or request.umask >= 0 or bool(request.pass_fds)
