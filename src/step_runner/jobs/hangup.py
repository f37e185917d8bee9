"""Detects that the peer of a pipe or socket is gone."""

from __future__ import annotations

import asyncio
import contextlib
import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def watched(descriptors: tuple[int, ...], gone: Callable[[], object]) -> Iterator[None]:
    """Call `gone` when the peer of a descriptor goes away while the block runs; only Linux reports that.

    epoll(7) always reports EPOLLERR and EPOLLHUP, even when not requested. A pipe without readers gives EPOLLERR. A
    pipe without writers and a socket without a peer give EPOLLHUP.
    """
    if sys.platform != "linux":
        yield
        return
    loop = asyncio.get_running_loop()
    with select.epoll() as poll:

        def hung_up() -> None:
            for descriptor, _ in poll.poll(0):
                poll.unregister(descriptor)
            gone()

        for descriptor in descriptors:
            with contextlib.suppress(PermissionError):  # EPERM, epoll_ctl(2): a regular file has no peer
                poll.register(descriptor, 0)
        loop.add_reader(poll.fileno(), hung_up)
        try:
            yield
        finally:
            loop.remove_reader(poll.fileno())
