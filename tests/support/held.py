"""What a server holds: the same after its work as before."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.support.server import Server

PATIENCE = 20.0
"""Seconds after which what is still held is a leak."""

POOL = 9 + min(32, (os.cpu_count() or 1) + 4)
"""Threads that a server may have: those of gRPC, and the pool of asyncio, which grows to its size with time."""


class Held(NamedTuple):
    """What a server holds."""

    descriptors: int
    children: int
    threads: int
    temporary: int


def held(server: Server, temporary: str) -> Held:
    """What a server holds now, whose directory for temporary files this is."""
    worker = server.runner.worker
    children, threads = len(worker.children(recursive=True)), max(POOL, worker.num_threads())
    return Held(worker.num_fds(), children, threads, len(os.listdir(temporary)))


def settled(server: Server, temporary: str, before: Held) -> None:
    """Wait until the server holds no more than before: it hears of a client's leave a moment later."""
    deadline = time.monotonic() + PATIENCE
    while any(now > then for now, then in zip(held(server, temporary), before, strict=True)):
        assert time.monotonic() < deadline, (before, held(server, temporary), os.listdir(temporary))
        time.sleep(0.01)
