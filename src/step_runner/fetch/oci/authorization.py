"""Computes the header `Authorization` from the challenge of a registry and from our credentials.

The rules are those of the distribution project's token authentication and of RFC 7617.
"""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlencode

from step_runner.fetch.http import Request
from step_runner.fetch.messages import AnswerError, one_line, struck_out
from step_runner.fetch.oci.names import is_plain
from step_runner.fetch.url import Url, UrlError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from step_runner.fetch.oci.credentials import Credentials

Challenges: TypeAlias = "Mapping[str, Mapping[str, str]]"

# A word, and its value after an equals sign. A word without a value is the name of a scheme: RFC 9110, section 11.6.1.
_WORD = re.compile(r'([A-Za-z][\w-]*)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?')
_TOKEN = re.compile(r"[\x21-\x7e]+")
_CLIENT = "step-runner"
_UNUSABLE = "the registry cannot be used"


def parse_challenges(text: str) -> Challenges:
    """Return the parameters of each scheme in a header `WWW-Authenticate`, with all names in lower case."""
    challenges: dict[str, dict[str, str]] = {}
    scheme: dict[str, str] = {}
    for name, quoted, bare in _WORD.findall(text):
        if quoted or bare:
            scheme[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) or bare
        else:
            scheme = challenges.setdefault(name.lower(), {})
    return challenges


def answer(challenges: Challenges, credentials: Credentials, scope: str) -> Request | str | None:
    """Return the request to the token server, or the header itself, or None if the credentials do not fit.

    `scope` is the default if the challenge names none. Raise AnswerError if no scheme of the challenge is supported.
    """
    if "bearer" in challenges:
        if credentials.registry_token:
            return f"Bearer {credentials.registry_token}"
        return _token_request(challenges["bearer"], credentials, scope)
    if "basic" in challenges:
        return _basic(credentials)
    raise AnswerError(f"{_UNUSABLE}: it asks for credentials in a way that is not supported; only Bearer and Basic are")


def parse_token(content: bytes) -> str:
    """Return the token in a server's answer. Raise AnswerError if it has none."""
    try:
        document = json.loads(content)
        token = document.get("token") or document.get("access_token")
    except (ValueError, AttributeError, RecursionError):
        token = None
    if not (isinstance(token, str) and _TOKEN.fullmatch(token)):
        raise AnswerError(f"{_UNUSABLE}: its token server sent no token; try again later")
    return token


def _token_request(challenge: Mapping[str, str], credentials: Credentials, scope: str) -> Request:
    realm = _checked_realm(challenge.get("realm", ""), credentials.secrets)
    query = {"service": challenge.get("service", ""), "scope": challenge.get("scope") or scope}
    if credentials.identity_token:
        secret = {"grant_type": "refresh_token", "refresh_token": credentials.identity_token, "client_id": _CLIENT}
        form = urlencode({**query, **secret}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(form))}
        return Request("POST", realm, headers, body=io.BytesIO(form))
    return Request("GET", realm.asking(query), authorization=_basic(credentials))


def _checked_realm(realm: str, secrets: Iterable[str]) -> Url:
    """Return the URL of the token server. Raise AnswerError if a password could be read on its way there."""
    try:
        url = Url.parse(realm)
    except UrlError:
        url = None
    if url is None or not url.host:
        raise AnswerError(f"{_UNUSABLE}: it names no token server; contact its operator")
    if url.scheme != "https" and not (url.scheme == "http" and is_plain(url.host)):
        shown = one_line(struck_out(url.host, secrets))
        raise AnswerError(
            f"{_UNUSABLE}: it wants a password to be sent to {shown} without encryption; contact its operator"
        )
    return url


def _basic(credentials: Credentials) -> str | None:
    return f"Basic {credentials.basic}" if credentials.basic else None
