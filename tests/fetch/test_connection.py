"""Connections that a cancel ends."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.images import HERE, files
from tests.support.odd_registry import OddRegistry, send

from step_runner.errors import StoppedError
from step_runner.fetch.git.fetch import fetch_git
from step_runner.fetch.http import Request, open_client, proxy_for
from step_runner.fetch.url import Url
from step_runner.model import Git
from step_runner.proc import Proc

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

    from tests.fetch.conftest import FetchCache, GitServer, Project, SilentServer

SOON = 15.0
"""Seconds in which a cancel ends a fetch, even on a busy machine; the server itself never answers."""


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "http://example.com/x", None),
        ({"HTTP_PROXY": "http://proxy:1"}, "http://example.com/x", "http://proxy:1"),
        ({"http_proxy": "proxy:1"}, "http://example.com/x", "http://proxy:1"),
        ({"http_proxy": "http://proxy:1"}, "https://example.com/x", None),
        ({"all_proxy": "http://proxy:1"}, "https://example.com/x", "http://proxy:1"),
        ({"http_proxy": "http://proxy:1", "no_proxy": "example.com"}, "http://example.com/x", None),
        ({"http_proxy": "http://proxy:1"}, "http://localhost:5000/x", None),
        ({"all_proxy": "http://proxy:1"}, "https://127.0.0.2/x", None),
        ({"all_proxy": "http://proxy:1"}, "https://[::1]:5000/x", None),
        ({"http_proxy": "http://proxy:1"}, "http://nas.local/x", "http://proxy:1"),
    ],
    ids=[
        "none",
        "upper case",
        "without scheme",
        "other scheme",
        "all",
        "excepted",
        "localhost",
        "loopback",
        "IPv6 loopback",
        "nearby",
    ],
)
def test_proxy_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    url: str,
    proxy: str | None,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert proxy_for(Url.parse(url)) == proxy


def status(url: str, proc: Proc) -> int:
    """Return the HTTP status of a server's answer, after all redirects."""
    with open_client(proc, 5.0) as client:
        response = client.send(Request("GET", Url.parse(url)))
        response.close()
        return response.status


def redirect(request: BaseHTTPRequestHandler, to: str) -> bool:
    send(request, 302, b"", {"Location": to})
    return True


@pytest.fixture
def proxy(other_registry: OddRegistry, monkeypatch: pytest.MonkeyPatch) -> OddRegistry:
    """Return the proxy of all http requests, which answers them itself."""
    monkeypatch.setenv("http_proxy", f"http://{other_registry.host}")
    return other_registry


def test_registry_on_this_machine_bypasses_proxy(
    odd_registry: OddRegistry, proxy: OddRegistry, cache: FetchCache
) -> None:
    odd_registry.offer("x", "1", {HERE: [files(a="x")]})

    assert (cache.fetch_image(odd_registry.host, "x", "1") / "a").read_text() == "x"
    assert proxy.asked == []


def test_git_server_on_this_machine_bypasses_proxy(
    server: GitServer, project: Project, proxy: OddRegistry, cache: FetchCache
) -> None:
    assert cache.fetch_step(server.url("project"), "main") == "one"
    assert proxy.asked == []


def test_redirect_to_this_machine_bypasses_proxy(odd_registry: OddRegistry, proxy: OddRegistry, proc: Proc) -> None:
    proxy.answer = lambda request: redirect(request, f"http://{odd_registry.host}/v2/")
    hosts: list[str] = []

    def note(request: BaseHTTPRequestHandler) -> bool:
        hosts.append(request.headers["Host"])
        return False

    odd_registry.answer = note

    assert status("http://r.example/v2/", proc) == 404
    assert [asked.path for asked in proxy.asked] == ["http://r.example/v2/"]
    assert [asked.path for asked in odd_registry.asked] == ["/v2/"]
    assert hosts == [odd_registry.host]


def test_redirect_from_this_machine_uses_proxy(odd_registry: OddRegistry, proxy: OddRegistry, proc: Proc) -> None:
    odd_registry.answer = lambda request: redirect(request, "http://r.example/v2/")

    assert status(f"http://{odd_registry.host}/v2/", proc) == 404
    assert [asked.path for asked in proxy.asked] == ["http://r.example/v2/"]


def stopped(url: str, revision: str, cache: FetchCache, ready: threading.Event) -> float:
    """Start a fetch, cancel it as soon as `ready` is set, and return the seconds from the cancel to its end."""
    proc = Proc(0)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            fetch_git(Git(url=url, revision=revision), cache, proc)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    start = time.monotonic()
    proc.cancel()
    thread.join()
    duration = time.monotonic() - start
    assert [type(error) for error in errors] == [StoppedError]
    return duration


def test_cancel_ends_fetch_from_silent_server(silent_server: SilentServer, cache: FetchCache) -> None:
    url = f"http://127.0.0.1:{silent_server.port}/x"

    assert stopped(url, "main", cache, silent_server.accepted) < SOON
    assert cache.entries() == []


def test_cancel_ends_tls_handshake_with_silent_server(silent_server: SilentServer, cache: FetchCache) -> None:
    url = f"https://127.0.0.1:{silent_server.port}/x"

    assert stopped(url, "main", cache, silent_server.accepted) < SOON


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_cancel_ends_fetch_in_the_middle_of_a_pack(
    request: pytest.FixtureRequest, project: Project, cache: FetchCache, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    if scheme == "https":
        monkeypatch.setenv("SSL_CERT_FILE", str(request.getfixturevalue("certificate")))
    server: GitServer = request.getfixturevalue("server" if scheme == "http" else "secure_server")
    server.cut = 100
    server.after_cut = server.stall  # type: ignore[method-assign]

    assert stopped(server.url("project"), project.git("rev-parse", "HEAD"), cache, server.stalled) < SOON
    assert cache.entries() == []


def test_cancelled_fetch_does_not_begin(server: GitServer, project: Project, cache: FetchCache) -> None:
    proc = Proc(0)
    proc.cancel()

    with pytest.raises(StoppedError):
        fetch_git(Git(url=server.url("project"), revision="main"), cache, proc)

    assert server.requests == []
