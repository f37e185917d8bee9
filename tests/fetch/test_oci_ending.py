"""Fetches from a registry that has fallen silent: a cancel or an error ends them at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.support.images import HERE, archive, member
from tests.support.odd_registry import send

from step_runner.errors import FetchError, StoppedError
from step_runner.proc import Proc

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

    from tests.fetch.conftest import FetchCache
    from tests.support.odd_registry import OddRegistry


def test_refused_layer_ends_fetch_at_once(odd_registry: OddRegistry, cache: FetchCache) -> None:
    """The error comes at once, however slowly the registry would send the rest."""
    odd_registry.offer("x", "1", {HERE: [b"x" * 4_000_000]})

    def stall(request: BaseHTTPRequestHandler) -> bool:
        if "/blobs/" not in request.path:
            return False
        send(request, 200, odd_registry.content(request.path)[:1_500_000], {"Content-Length": "4000000"})
        odd_registry.stall()
        return True

    odd_registry.answer = stall
    with pytest.raises(FetchError, match="is not a tar archive, plain or in zstd or gzip"):
        cache.fetch_image(odd_registry.host, "x", "1")

    # A fetch that waited would time out after half a minute and request the blob again.
    assert len(odd_registry.blob_requests()) == 1


@pytest.mark.parametrize(("where", "sent"), [("manifest", 100), ("blob", 100), ("blob", 2_500_000)])
def test_cancel_ends_fetch_in_the_middle_of_a_layer(
    odd_registry: OddRegistry, cache: FetchCache, where: str, sent: int
) -> None:
    odd_registry.offer("x", "1", {HERE: [archive(member("a", bytes(5_000_000)))]})

    def stall(request: BaseHTTPRequestHandler) -> bool:
        if f"/{where}s/" not in request.path:
            return False
        send(request, 200, odd_registry.content(request.path)[:sent], {"Content-Length": "5000000"})
        odd_registry.stall()
        return True

    odd_registry.answer = stall
    proc = Proc(0)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            cache.fetch_image(odd_registry.host, "x", "1", proc)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert odd_registry.stalled.wait(10)
    proc.cancel()
    # The promise is one second, and a busy machine may need more; the server itself sends nothing more.
    thread.join(5)

    assert not thread.is_alive()
    assert [type(error) for error in errors] == [StoppedError]
    assert cache.entries() == []


def test_cancelled_fetch_does_not_begin(odd_registry: OddRegistry, cache: FetchCache) -> None:
    proc = Proc(0)
    proc.cancel()

    with pytest.raises(StoppedError):
        cache.fetch_image(odd_registry.host, "x", "1", proc)

    assert odd_registry.asked == []
