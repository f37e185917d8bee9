"""Connections that a cancel ends."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from step_runner.errors import StoppedError
from step_runner.fetch.cancellation import Cancellation
from step_runner.fetch.connection import _abandonable, open_manager
from step_runner.fetch.git import fetch_git
from step_runner.model import Git

if TYPE_CHECKING:
    from tests.fetch.conftest import FetchCache, GitServer, Project, SilentServer


def test_connecting_is_left_behind_on_cancel_and_what_it_opens_is_closed(cancellation: Cancellation) -> None:
    began, go_on = threading.Event(), threading.Event()
    ours, theirs = socket.socketpair()

    def connect() -> socket.socket:
        began.set()
        go_on.wait()
        return ours

    def cancel() -> None:
        began.wait()
        cancellation.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(StoppedError):
        _abandonable(connect, cancellation)
    go_on.set()
    canceller.join()

    with theirs:
        assert theirs.recv(1) == b""


def test_error_of_connecting_is_passed_on(cancellation: Cancellation) -> None:
    def connect() -> socket.socket:
        raise OSError("no route")

    with pytest.raises(OSError, match="no route"):
        _abandonable(connect, cancellation)


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "http://example.com/x", None),
        ({"HTTP_PROXY": "http://proxy:1"}, "http://example.com/x", "http://proxy:1"),
        ({"http_proxy": "proxy:1"}, "http://example.com/x", "http://proxy:1"),
        ({"http_proxy": "http://proxy:1"}, "https://example.com/x", None),
        ({"all_proxy": "http://proxy:1"}, "https://example.com/x", "http://proxy:1"),
        ({"http_proxy": "http://proxy:1", "no_proxy": "example.com"}, "http://example.com/x", None),
    ],
    ids=["none", "upper case", "without scheme", "other scheme", "all", "excepted"],
)
def test_proxy_is_taken_from_the_environment(
    cancellation: Cancellation,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    url: str,
    proxy: str | None,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with open_manager(url, cancellation, 1.0) as manager:
        assert (str(manager.proxy) if manager.proxy else None) == proxy


def stopped(url: str, revision: str, cache: FetchCache, ready: threading.Event) -> float:
    """Start a fetch, cancel it as soon as `ready` is set, and return how many seconds it then took to end."""
    cancellation = Cancellation()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            fetch_git(Git(url=url, revision=revision), cache, cancellation)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    start = time.monotonic()
    cancellation.cancel()
    thread.join()
    duration = time.monotonic() - start
    assert [type(error) for error in errors] == [StoppedError]
    return duration


def test_cancel_ends_a_fetch_from_a_silent_server(silent_server: SilentServer, cache: FetchCache) -> None:
    url = f"http://127.0.0.1:{silent_server.port}/x"

    assert stopped(url, "main", cache, silent_server.accepted) < 1
    assert cache.entries() == []


def test_cancel_ends_a_tls_handshake_with_a_silent_server(silent_server: SilentServer, cache: FetchCache) -> None:
    url = f"https://127.0.0.1:{silent_server.port}/x"

    assert stopped(url, "main", cache, silent_server.accepted) < 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_cancel_ends_a_fetch_in_the_middle_of_a_pack(
    request: pytest.FixtureRequest, project: Project, cache: FetchCache, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    if scheme == "https":
        monkeypatch.setenv("SSL_CERT_FILE", str(request.getfixturevalue("certificate")))
    server: GitServer = request.getfixturevalue("server" if scheme == "http" else "secure_server")
    server.cut = 100
    server.after_cut = server.stall  # type: ignore[method-assign]

    assert stopped(server.url("project"), project.git("rev-parse", "HEAD"), cache, server.stalled) < 1
    assert cache.entries() == []


def test_cancelled_fetch_does_not_begin(server: GitServer, project: Project, cache: FetchCache) -> None:
    cancellation = Cancellation()
    cancellation.cancel()

    with pytest.raises(StoppedError):
        fetch_git(Git(url=server.url("project"), revision="main"), cache, cancellation)

    assert server.requests == []
