"""Counts the resources that a server holds: after its work as many as before."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.support.server import Server

PATIENCE = 20.0
"""Seconds after which a resource that is still held counts as a leak."""

POOL = 9 + min(32, (os.cpu_count() or 1) + 4)
"""The number of threads that a server may have: those of gRPC, and the pool of asyncio, which grows with time."""


class Held(NamedTuple):
    """The numbers of resources that a server holds."""

    descriptors: int
    children: int
    threads: int
    temporary: int


def held(server: Server, temporary: str) -> Held:
    """Count the resources of a server now; `temporary` is its directory for temporary files."""
    worker = server.runner.worker
    children, threads = len(worker.children(recursive=True)), max(POOL, worker.num_threads())
    return Held(worker.num_fds(), children, threads, len(os.listdir(temporary)))


def settled(server: Server, temporary: str, before: Held) -> None:
    """Wait until the server holds no more than before: it notices the end of a connection a moment later."""
    deadline = time.monotonic() + PATIENCE
    while any(now > then for now, then in zip(held(server, temporary), before, strict=True)):
        assert time.monotonic() < deadline, (before, held(server, temporary), os.listdir(temporary))
        time.sleep(0.01)
