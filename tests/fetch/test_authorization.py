"""Challenges of registries, and the answers to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from step_runner.fetch.http import Request
from step_runner.fetch.messages import AnswerError
from step_runner.fetch.oci.authorization import answer, parse_challenges, parse_token
from step_runner.fetch.oci.credentials import Credentials
from step_runner.fetch.url import Url

if TYPE_CHECKING:
    from collections.abc import Mapping

NOBODY = Credentials()
ADA = Credentials("ada", "hunter2")
BEARER = {"bearer": {"realm": "https://auth.example/token", "service": "r.example", "scope": "repository:x:pull"}}


@pytest.mark.parametrize(
    ("text", "challenges"),
    [
        ('Basic realm="x"', {"basic": {"realm": "x"}}),
        ("Basic", {"basic": {}}),
        ('bearer Realm="https://a/b?c=d",service=r', {"bearer": {"realm": "https://a/b?c=d", "service": "r"}}),
        (
            'Bearer realm="https://a", scope="repository:x:pull,push"',
            {"bearer": {"realm": "https://a", "scope": "repository:x:pull,push"}},
        ),
        ('Basic realm="a \\" b", Bearer realm="c"', {"basic": {"realm": 'a " b'}, "bearer": {"realm": "c"}}),
        ("", {}),
        ("=,=,,,", {}),
        ('"' * 1000, {}),
    ],
)
def test_challenge_header_parses_into_schemes_and_parameters(
    text: str, challenges: Mapping[str, Mapping[str, str]]
) -> None:
    assert parse_challenges(text) == challenges


@pytest.mark.parametrize(
    ("challenges", "credentials", "expected"),
    [
        ({"basic": {}}, ADA, "Basic YWRhOmh1bnRlcjI="),
        ({"basic": {}}, NOBODY, None),
        (BEARER, Credentials(registry_token="abc"), "Bearer abc"),
        (
            {**BEARER, "basic": {}},
            NOBODY,
            Request("GET", Url.parse("https://auth.example/token?service=r.example&scope=repository%3Ax%3Apull")),
        ),
        (
            BEARER,
            ADA,
            Request(
                "GET",
                Url.parse("https://auth.example/token?service=r.example&scope=repository%3Ax%3Apull"),
                authorization="Basic YWRhOmh1bnRlcjI=",
            ),
        ),
        (
            {"bearer": {"realm": "http://127.0.0.1:5/token?a=b"}},
            NOBODY,
            Request("GET", Url.parse("http://127.0.0.1:5/token?a=b&service=&scope=ours")),
        ),
    ],
    ids=["basic", "basic without", "registry token", "anonymous", "password", "no scope"],
)
def test_credentials_answer_each_kind_of_challenge(
    challenges: Mapping[str, Mapping[str, str]], credentials: Credentials, expected: Request | str | None
) -> None:
    assert answer(challenges, credentials, "ours") == expected


def test_identity_token_is_sent_as_a_form() -> None:
    request = answer(BEARER, Credentials(identity_token="a&b"), "ours")

    assert isinstance(request, Request)
    assert (request.method, str(request.url)) == ("POST", "https://auth.example/token")
    assert request.body is not None
    assert request.body.read() == (
        b"service=r.example&scope=repository%3Ax%3Apull&grant_type=refresh_token&refresh_token=a%26b"
        b"&client_id=step-runner"
    )


@pytest.mark.parametrize(
    ("challenges", "reason"),
    [
        ({}, "it asks for credentials in a way that is not supported; only Bearer and Basic are"),
        ({"negotiate": {}}, "it asks for credentials in a way that is not supported; only Bearer and Basic are"),
        ({"bearer": {}}, "it names no token server; contact its operator"),
        ({"bearer": {"realm": "https://[/"}}, "it names no token server; contact its operator"),
        ({"bearer": {"realm": "https://localhost:99999/"}}, "it names no token server; contact its operator"),
        ({"bearer": {"realm": "https://exa mple/"}}, "it names no token server; contact its operator"),
        ({"bearer": {"realm": "http://evil.example\\@127.0.0.1/"}}, "it names no token server; contact its operator"),
        ({"bearer": {"realm": "http://127.0.0.1?@evil.example/"}}, "it names no token server; contact its operator"),
        ({"bearer": {"realm": "http://127.0.0.1#@evil.example/"}}, "it names no token server; contact its operator"),
        ({"bearer": {"realm": "http://a@127.0.0.1@evil.example/"}}, "it names no token server; contact its operator"),
        ({"bearer": {"realm": "http://evil.example\t@127.0.0.1/"}}, "it names no token server; contact its operator"),
        ({"bearer": {"realm": "http://hunter2.example/"}}, "it wants a password to be sent to ***.example without"),
        ({"bearer": {"realm": "http://evil.example/"}}, "it wants a password to be sent to evil.example without"),
        ({"bearer": {"realm": "ftp://127.0.0.1/"}}, "it wants a password to be sent to 127.0.0.1 without encryption"),
    ],
)
def test_unsupported_challenge_gets_no_answer(challenges: Mapping[str, Mapping[str, str]], reason: str) -> None:
    with pytest.raises(AnswerError) as caught:
        answer(challenges, ADA, "ours")

    assert str(caught.value).startswith(f"the registry cannot be used: {reason}")


@pytest.mark.parametrize("content", [b'{"token": "abc"}', b'{"access_token": "abc"}'])
def test_token_is_read_from_answer(content: bytes) -> None:
    assert parse_token(content) == "abc"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"token": 1}', b'{"token": "a\\r\\nHost: b"}', b"[" * 100_000], ids=range(6)
)
def test_answer_without_token_is_refused(content: bytes) -> None:
    with pytest.raises(AnswerError, match=r": its token server sent no token; try again later$"):
        parse_token(content)


def test_token_request_hides_secrets_in_its_text() -> None:
    request = answer(BEARER, ADA, "ours")

    assert "YWRhOmh1bnRlcjI=" not in repr(request)
