"""Messages of failed fetches: one sentence, without credentials; nothing stays in the cache."""

from __future__ import annotations

import socket
import subprocess
import traceback
from typing import TYPE_CHECKING

import pytest

from step_runner.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    from tests.fetch.conftest import FetchCache, GitServer, Project, SilentServer


def test_credentials_in_url_open_closed_repository(server: GitServer, project: Project, cache: FetchCache) -> None:
    server.login = "ada:se@cr/et"

    assert cache.fetch_step(server.url("project", "ada:se%40cr%2Fet"), "main") == "one"


def test_cache_holds_no_credentials(server: GitServer, project: Project, cache: FetchCache) -> None:
    server.login = "ada:hunter2"
    cache.fetch(server.url("project", "ada:hunter2"), "main")
    found = subprocess.run(["grep", "-r", "hunter2", str(cache.root)], capture_output=True, check=False)

    assert found.stdout == b""
    assert "hunter2" not in " ".join(cache.entries())


@pytest.mark.parametrize(
    ("login", "reason"),
    [
        ("", "the server asks for credentials; write user:token@ in front of the host"),
        ("ada:guess", "the server does not accept the credentials (HTTP 401); check the token and its rights"),
    ],
    ids=["none", "wrong"],
)
def test_refused_credentials_are_reported_without_secrets(
    server: GitServer, project: Project, cache: FetchCache, login: str, reason: str
) -> None:
    server.login = "ada:hunter2"

    with pytest.raises(FetchError) as caught:
        cache.fetch(server.url("project", login), "main")

    assert str(caught.value) == f'cannot fetch "main" of {server.url("project")}: {reason}'
    assert "guess" not in "".join(traceback.format_exception(caught.value))
    assert cache.entries() == []


def test_redirect_to_another_host_gets_no_credentials(server: GitServer, project: Project, cache: FetchCache) -> None:
    seen: list[str | None] = []

    def redirect(request: BaseHTTPRequestHandler) -> None:
        if "127.0.0.1" not in request.headers["Host"]:
            seen.append(request.headers.get("Authorization"))
            request.send_error(404)
            return
        request.send_response(302)
        request.send_header("Location", server.url(request.path.lstrip("/"), host="localhost"))
        request.end_headers()

    server.answer = redirect
    with pytest.raises(FetchError):
        cache.fetch(server.url("project", "ada:hunter2"), "main")

    assert seen == [None]


def garbage(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Type", "text/html")
    request.end_headers()
    request.wfile.write(b"<html>hello</html>")


def git_garbage(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
    request.end_headers()
    request.wfile.write(b"zzzz what is this\x1b[31m")


def git_refusal(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
    request.end_headers()
    request.wfile.write(b"0019ERR not for \x1byou, Ada")


def server_error(request: BaseHTTPRequestHandler) -> None:
    request.send_error(500)


def close_at_once(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (garbage, "the server answers, but not as a git server; check the URL"),
        (git_refusal, 'the git server said "not for you, Ada"; check the URL and the revision'),
        (server_error, "the server answered with HTTP status 500; try again later"),
        (close_at_once, "the server closed the connection in the middle; try again"),
    ],
    ids=["web page", "git refusal", "server error", "closed at once"],
)
def test_broken_server_answer_is_explained(
    server: GitServer, cache: FetchCache, answer: Callable[[BaseHTTPRequestHandler], None], reason: str
) -> None:
    server.answer = answer

    with pytest.raises(FetchError) as caught:
        cache.fetch(server.url("project"), "main")

    assert str(caught.value) == f'cannot fetch "main" of {server.url("project")}: {reason}'
    assert cache.entries() == []


def test_git_server_messages_are_shown_without_secrets(server: GitServer, cache: FetchCache) -> None:
    password = "hunter2" * 6

    def echo(request: BaseHTTPRequestHandler) -> None:
        said = f"ERR {request.headers['Authorization']} {'z' * 170} {password}"
        request.send_response(200)
        request.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
        request.end_headers()
        request.wfile.write(f"{len(said) + 4:04x}{said}".encode())

    server.answer = echo
    with pytest.raises(FetchError) as caught:
        cache.fetch(server.url("project", f"ada:{password}"), "main")

    assert f'said "Basic *** {"z" * 170} ***"' in str(caught.value)


def test_invalid_git_answer_is_explained(server: GitServer, cache: FetchCache) -> None:
    server.answer = git_garbage

    with pytest.raises(
        FetchError, match=r"the answer is not understood \([ -~]+\); check that this is a git repository$"
    ):
        cache.fetch(server.url("project"), "main")


@pytest.mark.parametrize("revision", ["main", "v1", "hash"])
@pytest.mark.parametrize("cut", [0, 10, 120, -30], ids=str)
def test_server_closing_in_the_middle_of_a_pack_is_explained(
    server: GitServer, project: Project, cache: FetchCache, cut: int, revision: str
) -> None:
    project.git("tag", "v1")
    wanted = project.git("rev-parse", "HEAD") if revision == "hash" else revision
    server.cut = cut

    with pytest.raises(FetchError, match=r"the server closed the connection in the middle; try again$"):
        cache.fetch(server.url("project"), wanted)

    assert cache.entries() == []
    server.cut = None
    assert cache.fetch_step(server.url("project"), wanted) == "one"


def test_silent_server_fails_after_timeout(silent_server: SilentServer, cache: FetchCache) -> None:
    url = f"http://127.0.0.1:{silent_server.port}/x"

    with pytest.raises(FetchError, match=r"the server did not answer in time; check the network, or try again later$"):
        cache.fetch(url, "main", timeout=0.2)


def test_unknown_host_is_explained(cache: FetchCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(*arguments: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # A real lookup would ask the name server of this machine.
    monkeypatch.setattr(socket, "getaddrinfo", find_nothing)
    with pytest.raises(FetchError) as caught:
        cache.fetch("https://host.invalid/x", "main")

    assert str(caught.value) == (
        'cannot fetch "main" of https://host.invalid/x:'
        " the host host.invalid is not known; check the URL and the network"
    )


def test_unreachable_redirect_host_is_named(server: GitServer, cache: FetchCache) -> None:
    def redirect(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", "http://127.0.0.1:1/x")
        request.end_headers()

    server.answer = redirect
    with pytest.raises(FetchError, match=r": no connection to 127\.0\.0\.1:1 \(connection refused\); check the URL"):
        cache.fetch(server.url("project"), "main")


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        ("http://127.0.0.1:1", "the proxy is unreachable or refused the connection; check the proxy settings"),
        ("socks5://127.0.0.1:1", "the proxy is not an HTTP proxy; check the proxy settings"),
    ],
)
def test_refusing_proxy_is_explained(
    cache: FetchCache, monkeypatch: pytest.MonkeyPatch, proxy: str, reason: str
) -> None:
    monkeypatch.setenv("all_proxy", proxy)
    with pytest.raises(FetchError) as caught:
        cache.fetch("https://host.invalid/x", "main")

    assert str(caught.value) == f'cannot fetch "main" of https://host.invalid/x: {reason}'


def test_certificate_of_unknown_authority_is_explained(
    secure_server: GitServer, project: Project, cache: FetchCache
) -> None:
    with pytest.raises(
        FetchError,
        match=r"no secure connection \(self-signed certificate\); for a private authority, name its file in",
    ):
        cache.fetch(secure_server.url("project"), "main")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("http", "the repository does not exist, or needs credentials; check the URL"),
        ("file", "the directory is not a git repository; check the path"),
    ],
)
def test_missing_repository_is_explained(
    server: GitServer, project: Project, cache: FetchCache, tmp_path: Path, name: str, reason: str
) -> None:
    url = server.url("nothing") if name == "http" else (tmp_path / "nothing").as_uri()

    with pytest.raises(FetchError) as caught:
        cache.fetch(url, "main")

    assert str(caught.value) == f'cannot fetch "main" of {url}: {reason}'


@pytest.mark.parametrize(
    ("revision", "reason"),
    [
        ("nope", "no tag or branch has this name, and a commit needs 8 or more digits of its hash"),
        ("deadbeef", "no tag, branch or commit has this name"),
        ("a b", "it is not a valid name of a tag or branch"),
        ("\x1b[31m", "it is not a valid name of a tag or branch"),
        ("../x", "it is not a valid name of a tag or branch"),
        ("", "it is not a valid name of a tag or branch"),
    ],
)
def test_unknown_revision_is_explained(url: str, cache: FetchCache, revision: str, reason: str) -> None:
    with pytest.raises(FetchError) as caught:
        cache.fetch(url, revision)

    shown = revision.replace("\x1b", "?")
    assert str(caught.value) == f'cannot find "{shown}" in {url}: {reason}; check the revision'
    assert cache.entries() == []


def test_unknown_hash_is_explained(url: str, cache: FetchCache) -> None:
    with pytest.raises(FetchError) as caught:
        cache.fetch(url, "0123456789" * 4)

    assert str(caught.value) == (
        f'cannot fetch "{"0123456789" * 4}" of {url}: the commit does not exist; check the revision'
    )
    assert cache.entries() == []


def test_git_redirect_from_https_to_http_is_refused(
    server: GitServer,
    secure_server: GitServer,
    project: Project,
    cache: FetchCache,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Files received without encryption would stay in the cache for ever, under the name with https."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def redirect(request: BaseHTTPRequestHandler) -> None:
        request.send_response(301)
        request.send_header("Location", server.url(request.path.removeprefix("/")))
        request.send_header("Content-Length", "0")
        request.end_headers()

    secure_server.answer = redirect
    with pytest.raises(FetchError, match=r": the server redirects from https to http, which is refused; contact its"):
        cache.fetch(secure_server.url("project"), "main")

    assert server.requests == []
    assert cache.entries() == []
