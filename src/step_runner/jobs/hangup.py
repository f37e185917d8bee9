"""Tells when the other end of a pipe or socket is gone, on Linux."""

from __future__ import annotations

import asyncio
import contextlib
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
        loop.add_reader(poll.fileno(), _hung_up, poll, gone)
        try:
            yield
        finally:
            loop.remove_reader(poll.fileno())


def _hung_up(poll: select.epoll, gone: Callable[[], object]) -> None:
    for descriptor, _ in poll.poll(0):
        poll.unregister(descriptor)
    gone()
