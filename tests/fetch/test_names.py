"""Names of registries in requests."""

from __future__ import annotations

import pytest

from step_runner.fetch.oci.names import is_plain, registry_url, repository_on
from step_runner.fetch.url import is_loopback


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.8.9.10", "::1", "[::1]", "nas.local", "nas.local."],
)
def test_nearby_host_uses_plain_http(host: str) -> None:
    assert is_plain(host)


def test_host_in_local_network_is_not_this_machine() -> None:
    assert is_loopback("localhost")
    assert not is_loopback("nas.local")


@pytest.mark.parametrize("host", ["local", "notlocalhost", "10.0.0.1", "192.168.1.1", "r.example", "localhost.example"])
def test_other_host_uses_https(host: str) -> None:
    assert not is_plain(host)


@pytest.mark.parametrize(
    ("registry", "url"),
    [
        ("r.example", "https://r.example"),
        ("r.example:5000", "https://r.example:5000"),
        ("localhost:5000", "http://localhost:5000"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("nas.local", "http://nas.local"),
        ("docker.io", "https://registry-1.docker.io"),
        ("index.docker.io", "https://registry-1.docker.io"),
    ],
)
def test_registry_has_a_url(registry: str, url: str) -> None:
    assert registry_url(registry) == url


@pytest.mark.parametrize(
    ("registry", "repository", "name"),
    [
        ("docker.io", "alpine", "library/alpine"),
        ("docker.io", "group/x", "group/x"),
        ("r.example", "alpine", "alpine"),
    ],
)
def test_docker_hub_url_omits_library(registry: str, repository: str, name: str) -> None:
    assert repository_on(registry, repository) == name
