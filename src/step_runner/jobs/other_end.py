"""Tells when the other end of a pipe or socket is gone, on Linux."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import stat
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 1 << 16
"""Bytes in one read: the default capacity of a pipe on Linux, pipe(7)."""


@contextlib.contextmanager
def watched(descriptors: tuple[int, ...], gone: Callable[[], object]) -> Iterator[None]:
    """While the block runs, call `gone` when the other end of a descriptor is gone.

    epoll(7) reports EPOLLERR, for a pipe without readers, and EPOLLHUP, for one without writers and for a socket
    without a peer, whether they are asked for or not.
    """
    loop = asyncio.get_running_loop()
    with select.epoll() as poll:
        for descriptor in descriptors:
            poll.register(descriptor, 0)
        loop.add_reader(poll.fileno(), _other_end_gone, poll, gone)
        try:
            yield
        finally:
            loop.remove_reader(poll.fileno())


def _other_end_gone(poll: select.epoll, gone: Callable[[], object]) -> None:
    for descriptor, event in poll.poll(0):
        poll.unregister(descriptor)
        if event & select.EPOLLERR and stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            _read_instead(descriptor)
    gone()


def _read_instead(descriptor: int) -> None:
    """Become the reader of a pipe that has none: a step that writes while it cleans up must not die of SIGPIPE.

    Opening the end of a pipe in proc(5) opens the pipe anew, here for reading. A thread reads as long as this program
    lives, because the program itself may have to wait until there is room in the pipe for a line of its own.
    """
    with contextlib.suppress(OSError):
        reader = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
        threading.Thread(target=_discard, args=(reader,), daemon=True).start()


def _discard(reader: int) -> None:
    while os.read(reader, CHUNK):
        pass
