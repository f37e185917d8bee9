"""Credentials, tokens and redirects: the secrets that each host receives."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import traceback
from typing import TYPE_CHECKING

import pytest
from tests.support.images import HERE, files, push
from tests.support.odd_registry import OddRegistry, first, send

from step_runner.errors import FetchError
from step_runner.fetch.oci.credentials import Credentials
from step_runner.fetch.oci.manifest import digest_of
from step_runner.fetch.oci.registry import open_repository
from step_runner.proc import Proc

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    from tests.fetch.conftest import FetchCache
    from tests.support.registry import RegistryServer

ADA = Credentials("ada", "hunter2")


def config_of(host: str, **entry: str) -> str:
    return json.dumps({"auths": {host: entry or {"username": "ada", "password": "hunter2"}}})


# Real registries that are closed, or speak TLS


def test_credentials_open_closed_registry(closed_registry: RegistryServer, repository: str, cache: FetchCache) -> None:
    push(closed_registry, repository, "latest", {HERE: [files(a="x")]}, ADA)
    config = config_of(closed_registry.host)

    assert (cache.fetch_image(closed_registry.host, repository, DOCKER_AUTH_CONFIG=config) / "a").read_text() == "x"
    found = subprocess.run(["grep", "-r", "hunter2", str(cache.root)], capture_output=True, check=False)
    assert found.stdout == b""


@pytest.mark.parametrize(
    ("login", "reason"),
    [
        (
            "",
            "the registry asks for credentials (HTTP 401);"
            " set DOCKER_AUTH_CONFIG in the step's environment, with an entry for this registry",
        ),
        (
            "ada:guess",
            "the registry refuses the credentials (HTTP 401); check DOCKER_AUTH_CONFIG and the user's rights",
        ),
    ],
    ids=["none", "wrong"],
)
def test_refused_credentials_are_reported_without_secrets(
    closed_registry: RegistryServer, repository: str, cache: FetchCache, login: str, reason: str
) -> None:
    user, _, password = login.partition(":")
    config = config_of(closed_registry.host, username=user, password=password) if login else ""

    with pytest.raises(FetchError) as caught:
        cache.fetch_image(closed_registry.host, repository, DOCKER_AUTH_CONFIG=config)

    assert str(caught.value) == f"{closed_registry.host}/{repository}:latest: {reason}"
    assert "guess" not in "".join(traceback.format_exception(caught.value))
    assert cache.entries() == []


def test_unreadable_configuration_is_explained(registry: RegistryServer, repository: str, cache: FetchCache) -> None:
    with pytest.raises(FetchError, match=r"^resolving OCI registry authentication: DOCKER_AUTH_CONFIG is not JSON; "):
        cache.fetch_image(registry.host, repository, DOCKER_AUTH_CONFIG="{hunter2")


def test_nearby_registry_may_speak_tls(
    secure_registry: RegistryServer, certificate: Path, cache: FetchCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    push(secure_registry, "x", "latest", {HERE: [files(a="x")]})

    assert (cache.fetch_image(secure_registry.host, "x") / "a").read_text() == "x"


def test_certificate_of_unknown_authority_is_explained(secure_registry: RegistryServer, cache: FetchCache) -> None:
    with pytest.raises(FetchError) as caught:
        cache.fetch_image(secure_registry.host, "x")

    assert str(caught.value) == (
        f"{secure_registry.host}/x:latest: no secure connection (self-signed certificate);"
        " for a private authority, name its file in SSL_CERT_FILE"
    )


# Tokens


@pytest.mark.parametrize(
    ("login", "environment"),
    [
        ("", {}),
        ("ada:hunter2", {"username": "ada", "password": "hunter2"}),
        ("ada:hunter2", {"identitytoken": "hunter2-token"}),
        ("ada:hunter2", {"registrytoken": "hunter2-registry"}),
    ],
    ids=["anonymous", "password", "identity token", "registry token"],
)
def test_token_is_requested_once_and_opens_registry(
    odd_registry: OddRegistry,
    cache: FetchCache,
    caplog: pytest.LogCaptureFixture,
    login: str,
    environment: dict[str, str],
) -> None:
    caplog.set_level(logging.DEBUG)
    odd_registry.login, odd_registry.identity = login, "hunter2-token"
    odd_registry.tokens = {"hunter2-registry"}
    odd_registry.offer("x", "1", {HERE: [files(a="x"), files(b="y")]})
    config = config_of(odd_registry.host, **environment) if environment else ""
    cache.fetch_image(odd_registry.host, "x", "1", DOCKER_AUTH_CONFIG=config)

    asked = [asked for asked in odd_registry.asked if asked.path.startswith("/token")]
    assert [request.method for request in asked] == (
        [] if "registrytoken" in environment else ["POST" if "identitytoken" in environment else "GET"]
    )
    assert odd_registry.asked[0].authorization is None
    assert not any("hunter2" in record.getMessage() or "token-0" in record.getMessage() for record in caplog.records)


def test_expired_token_is_requested_again(odd_registry: OddRegistry, cache: FetchCache) -> None:
    odd_registry.login = "ada:hunter2"
    odd_registry.offer("x", "1", {HERE: [files(a="x"), files(b="y")]})

    def expire(request: BaseHTTPRequestHandler) -> bool:
        if "/blobs/" in request.path and len(odd_registry.tokens) == 1:
            odd_registry.tokens = {"used-up"}
        return False

    odd_registry.answer = expire
    cache.fetch_image(odd_registry.host, "x", "1", DOCKER_AUTH_CONFIG=config_of(odd_registry.host))

    assert sum(asked.path.startswith("/token") for asked in odd_registry.asked) == 2


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            "",
            "the registry asks for credentials (HTTP 401);"
            " set DOCKER_AUTH_CONFIG in the step's environment, with an entry for this registry",
        ),
        (
            "guess",
            "the registry refuses the credentials (HTTP 401); check DOCKER_AUTH_CONFIG and the user's rights",
        ),
    ],
    ids=["none", "wrong"],
)
def test_refused_token_is_explained(odd_registry: OddRegistry, cache: FetchCache, config: str, reason: str) -> None:
    odd_registry.login = "ada:hunter2"
    text = config_of(odd_registry.host, username="ada", password=config) if config else ""

    assert cache.refusal(odd_registry.host, text) == reason


def test_registry_refusing_its_own_token_is_asked_twice(odd_registry: OddRegistry, cache: FetchCache) -> None:
    """A registry that refuses each token of its own token server is asked twice, not for ever."""
    odd_registry.login = ""
    challenge = {"WWW-Authenticate": f'Bearer realm="http://{odd_registry.host}/token"'}
    odd_registry.answer = first(99, lambda request: send(request, 401, b"", challenge), "/manifests/")

    assert cache.refusal(odd_registry.host).startswith("the registry asks for credentials (HTTP 401)")
    assert len(odd_registry.asked) == 3


@pytest.mark.parametrize(
    ("challenge", "reason"),
    [
        ("Negotiate", "the registry cannot be used: it asks for credentials in a way that is not supported;"),
        ('Bearer realm="http://evil.example/"', "the registry cannot be used: it wants a password to be sent to evil"),
        ('Bearer realm="what"', "the registry cannot be used: it names no token server;"),
        ('Bearer realm="https://localhost:99999/"', "the registry cannot be used: it names no token server;"),
    ],
)
def test_unsupported_challenge_is_explained(
    odd_registry: OddRegistry, cache: FetchCache, challenge: str, reason: str
) -> None:
    odd_registry.answer = first(
        99, lambda request: send(request, 401, b"", {"WWW-Authenticate": challenge}), "/manifests/"
    )

    assert cache.refusal(odd_registry.host, config_of(odd_registry.host)).startswith(reason)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (
            404,
            'the registry cannot be used: its token server {host} answered with HTTP status 404, "no";'
            " check DOCKER_AUTH_CONFIG, or contact the operator of the registry",
        ),
        (
            501,
            'the registry cannot be used: its token server {host} answered with HTTP status 501, "no"; try again later',
        ),
        (403, "the registry refuses the credentials (HTTP 403); check DOCKER_AUTH_CONFIG and the user's rights"),
    ],
)
def test_token_server_status_is_reported_as_its_own(
    odd_registry: OddRegistry, cache: FetchCache, status: int, reason: str
) -> None:
    odd_registry.login = "ada:hunter2"
    odd_registry.answer = first(99, lambda request: send(request, status, b'{"errors": [{"message": "no"}]}'), "/token")

    told = cache.refusal(odd_registry.host, config_of(odd_registry.host))
    assert told == reason.format(host=odd_registry.host)


def test_unreachable_token_server_is_named(odd_registry: OddRegistry, cache: FetchCache) -> None:
    challenge = {"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:1/token"'}
    odd_registry.answer = first(99, lambda request: send(request, 401, b"", challenge), "")

    assert cache.refusal(odd_registry.host).startswith("no connection to 127.0.0.1:1 (connection refused); check")


def test_nearby_registry_error_survives_https_retry(odd_registry: OddRegistry, cache: FetchCache) -> None:
    """The request was repeated by https, which the registry does not speak."""
    odd_registry.answer = first(1, lambda request: send(request, 400, b'{"errors": [{"message": "bad name"}]}'), "")

    assert cache.refusal(odd_registry.host) == (
        'the registry answered with HTTP status 400, "bad name"; try again later'
    )


# Redirects


@pytest.mark.parametrize("basic", [True, False], ids=["basic", "token"])
def test_redirect_to_another_host_gets_no_credentials(
    odd_registry: OddRegistry, other_registry: OddRegistry, cache: FetchCache, basic: bool
) -> None:
    odd_registry.login = "ada:hunter2"
    odd_registry.offer("x", "1", {HERE: [files(a="x")]})
    other_registry.offer("x", "1", {HERE: [files(a="x")]})

    def redirect(request: BaseHTTPRequestHandler) -> bool:
        if basic and not request.headers["Authorization"]:
            send(request, 401, b"", {"WWW-Authenticate": "Basic"})
        elif "/blobs/" in request.path:
            send(request, 307, b"", {"Location": f"http://{other_registry.host}{request.path}"})
        elif basic:
            odd_registry.send_content(request)
        else:
            return False
        return True

    odd_registry.answer = redirect
    cache.fetch_image(odd_registry.host, "x", "1", DOCKER_AUTH_CONFIG=config_of(odd_registry.host))

    assert [asked.authorization for asked in other_registry.asked] == [None]


def test_redirect_host_asking_for_credentials_gets_none(
    odd_registry: OddRegistry, other_registry: OddRegistry, cache: FetchCache
) -> None:
    """Credentials are for the registry alone, even if the host of a redirect sends a challenge."""
    challenge = f'Bearer realm="http://{other_registry.host}/token"'
    other_registry.answer = first(99, lambda request: send(request, 401, b"", {"WWW-Authenticate": challenge}), "")
    odd_registry.answer = first(
        99, lambda request: send(request, 302, b"", {"Location": f"http://{other_registry.host}/x"}), "/manifests/"
    )

    reason = cache.refusal(odd_registry.host, config_of(odd_registry.host))
    assert reason.startswith("the registry refuses the credentials (HTTP 401)")
    assert [(asked.path, asked.authorization) for asked in other_registry.asked] == [("/x", None)]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/v2/x/manifests/1", "the server redirects more than 5 times; try again later"),
        ("file:///etc/passwd", "the server refers to an address that is not an http URL; contact its operator"),
        ("http://[", "the server refers to an address that is not an http URL; contact its operator"),
        ("http://exa mple/", "the server refers to an address that is not an http URL; contact its operator"),
        ("http://localhost:99999/", "the server refers to an address that is not an http URL; contact its operator"),
        ("http://127.0.0.1:1/x", "no connection to 127.0.0.1:1 (connection refused); check the URL and the network"),
        ("http://[::1]:1/x", "no connection to [::1]:1 ("),
    ],
    ids=["circle", "file", "no URL", "no host", "no port", "closed", "closed with IPv6"],
)
def test_unfollowed_redirect_is_explained(
    odd_registry: OddRegistry, cache: FetchCache, location: str, reason: str
) -> None:
    odd_registry.answer = first(99, lambda request: send(request, 302, b"", {"Location": location}), "/manifests/")

    assert cache.refusal(odd_registry.host, config_of(odd_registry.host)).startswith(reason)


def test_message_hides_host_named_like_a_password(odd_registry: OddRegistry, cache: FetchCache) -> None:
    """Only the registry's own host is shown: it is public."""
    odd_registry.answer = first(99, lambda request: send(request, 302, b"", {"Location": "http://127.0.0.1:1/"}), "")
    config = config_of(odd_registry.host, username="ada", password="127.0.0.1")

    assert cache.refusal(odd_registry.host, config).startswith("no connection to ***:1 (connection refused);")


def test_upload_to_invalid_address_is_explained(odd_registry: OddRegistry) -> None:
    odd_registry.answer = first(99, lambda request: send(request, 202, b"", {"Location": "ftp://127.0.0.1/x"}), "")
    with (
        open_repository(odd_registry.host, "x", ADA, Proc(0)) as there,
        pytest.raises(
            FetchError, match=r": the server refers to an address that is not an http URL; contact its operator$"
        ),
    ):
        there.upload_blob(io.BytesIO(b"x"), 1, digest_of(b"x"))


def test_registry_at_impossible_port_is_explained(cache: FetchCache) -> None:
    assert cache.refusal("127.0.0.1:99999") == "the address is not a valid URL; check its host and port"


# Words of servers


def test_registry_messages_are_shown_without_secrets(odd_registry: OddRegistry, cache: FetchCache) -> None:
    """A registry may send secrets back that it received."""
    odd_registry.login = "ada:hunter2"
    odd_registry.tokens = {"x" * 50}

    def echo(request: BaseHTTPRequestHandler) -> None:
        said = f"{request.headers['Authorization']} hunter2"
        send(request, 418, json.dumps({"errors": [{"message": said}]}).encode())

    odd_registry.answer = lambda request: bool(request.headers["Authorization"]) and first(1, echo, "/v2/")(request)

    reason = cache.refusal(odd_registry.host, config_of(odd_registry.host))
    assert reason == 'the registry answered with HTTP status 418, "Bearer *** ***"; try again later'


def refuse_token(odd_registry: OddRegistry, said: Callable[[BaseHTTPRequestHandler], str]) -> None:
    """Make the token server refuse every request with this text."""
    odd_registry.login = "nobody"

    def answer(request: BaseHTTPRequestHandler) -> None:
        send(request, 400, json.dumps({"errors": [{"message": said(request)}]}).encode())

    odd_registry.answer = first(99, answer, "/token")


def test_token_server_messages_are_shown_without_login(odd_registry: OddRegistry, cache: FetchCache) -> None:
    refuse_token(odd_registry, lambda request: f"bad header {request.headers['Authorization']}")

    assert '"bad header Basic ***"' in cache.refusal(odd_registry.host, config_of(odd_registry.host))


def test_token_server_messages_hide_identity_token(odd_registry: OddRegistry, cache: FetchCache) -> None:
    """A token server may repeat the identity token that it received; the message masks it."""
    refuse_token(odd_registry, lambda request: odd_registry.asked[-1].body.decode())

    reason = cache.refusal(odd_registry.host, config_of(odd_registry.host, identitytoken="ab/cd+ef=="))
    assert "refresh_token=***&client_id" in reason


def test_secret_at_the_end_of_cut_text_is_masked_whole(odd_registry: OddRegistry, cache: FetchCache) -> None:
    """A text that is cut in the middle of a secret shows no part of that secret."""
    password = "hunter2" * 6
    said = json.dumps({"errors": [{"message": f"{'z' * 170} {password}"}]}).encode()
    odd_registry.answer = first(99, lambda request: send(request, 418, said), "")

    reason = cache.refusal(odd_registry.host, config_of(odd_registry.host, username="ada", password=password))
    assert f'"{"z" * 170} ***"' in reason


def test_short_password_is_masked_only_in_quoted_text(odd_registry: OddRegistry, cache: FetchCache) -> None:
    odd_registry.answer = first(99, lambda request: send(request, 418, b'{"errors": [{"message": "stop"}]}'), "")

    reason = cache.refusal(odd_registry.host, config_of(odd_registry.host, username="ada", password="t"))
    assert reason == 'the registry answered with HTTP status 418, "s***op"; try again later'
