"""URLs: only a text with one meaning is accepted."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from step_runner.fetch.url import Url, UrlError


@pytest.mark.parametrize(
    ("text", "host", "port", "target"),
    [
        ("https://R.Example", "r.example", None, ""),
        ("HTTPS://r.example:443/a?b=c#d", "r.example", None, "/a?b=c"),
        ("http://127.0.0.1:5000/v2/", "127.0.0.1", 5000, "/v2/"),
        ("http://[::1]:80/x", "[::1]", None, "/x"),
        ("https://r.example?a=b", "r.example", None, "?a=b"),
        ("https://r.example/group/x@v1", "r.example", None, "/group/x@v1"),
        ("file:///srv/a b", "", None, "/srv/a b"),
        ("https://my_host:/x", "my_host", None, "/x"),
    ],
)
def test_url_has_host_port_and_target(text: str, host: str, port: int | None, target: str) -> None:
    url = Url.parse(text)

    assert (url.host, url.port, url.target) == (host, port, target)


def test_url_text_hides_login() -> None:
    url = Url.parse("https://a%40b:hunter2@r.example/x")

    assert (url.user, url.password) == ("a@b", "hunter2")
    assert str(url) == "https://r.example/x"
    assert "hunter2" not in repr(url)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("r.example/x", "its host, port or login is not clear"),
        ("https://a\\@b/", "it has a backslash"),
        ("https://a/\\b", "it has a backslash"),
        ("https://a@b@c/", "its host, port or login is not clear"),
        ("https://a?@b/", "its host, port or login is not clear"),
        ("https://a#@b/", "its host, port or login is not clear"),
        ("https://a\tb/", "it has control characters"),
        ("https://a/\r\nHost: b", "it has control characters"),
        ("https://a\x85b/", "it has control characters"),
        ("https://a b/", "its host, port or login is not clear"),
        ("https://a%2eb/", "its host, port or login is not clear"),
        ("https://\uff41/", "its host, port or login is not clear"),
        ("https://[::1/", "its host, port or login is not clear"),
        ("https://::1/", "its host, port or login is not clear"),
        ("https://a:b/", "its host, port or login is not clear"),
        ("https://a:99999/", "its port is larger than 65535"),
    ],
)
def test_ambiguous_url_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UrlError, match=f"^{reason}"):
        Url.parse(text)


@given(st.text("htps:/@\\?#[]%.ab1 \t", max_size=30).map("http://".__add__))
def test_url_means_same_host_to_all_libraries(text: str) -> None:
    """A request for an accepted URL goes to the host that was checked."""
    try:
        url = Url.parse(text)
        sent = parse_url(str(url))
    except (UrlError, LocationParseError):
        return

    assert sent.auth is None
    assert (sent.host or "", sent.port) == (url.host, url.port)
    assert (parse_url(text).host or "").lower() == url.host
    assert (urlsplit(text).hostname or "") == url.host.strip("[]")


@pytest.mark.parametrize("reference", ["\\\\evil.example/", "/\\evil.example/", "//a@b@c/", "\thttps://evil.example"])
def test_ambiguous_reference_is_refused(reference: str) -> None:
    with pytest.raises(UrlError):
        Url.parse("https://r.example/a").joined(reference)


def test_parameters_are_added_to_existing_ones() -> None:
    assert str(Url.parse("https://r.example/a").asking({"b": "c d"})) == "https://r.example/a?b=c+d"
    assert str(Url.parse("https://r.example/a?x=y#z").asking({"b": "c"})) == "https://r.example/a?x=y&b=c"
