"""Sends requests for one repository, with the authorization that its registry requires; loads urllib3."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from urllib3.exceptions import HTTPError

from step_runner.fetch.http import Request, StatusError
from step_runner.fetch.messages import AnswerError, one_line, speaks_no_tls, struck_out
from step_runner.fetch.oci.authorization import answer, parse_challenges, parse_token
from step_runner.fetch.url import Url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from step_runner.fetch.http import Client, Response
    from step_runner.fetch.oci.credentials import Credentials

_LARGEST_DOCUMENT = 4 << 20  # bytes; the specification wants registries to accept manifests up to this size
_LARGEST_REFUSAL = 1 << 16  # bytes; a longer text is not a useful reason


class Session:
    """Sends requests for a repository, and asks the token server of the registry when the registry requires it."""

    def __init__(self, url: Url, repository: str, credentials: Credentials, client: Client) -> None:
        self.credentials = credentials
        self._base = url.joined(f"/v2/{repository}/")
        self._repository = repository
        self._client = client
        self._authorization: str | None = None
        self._tokens: set[str] = set()
        self._scheme_is_known = url.scheme == "https"

    @property
    def host(self) -> str:
        """The host of the registry, with its port."""
        return self._base.netloc

    def send(
        self, method: str, path: str | Url, headers: Mapping[str, str] | None = None, body: IO[bytes] | None = None
    ) -> Response:
        """Return the answer to a request; repeat it once with authorization if the registry requires that.

        `path` is relative to the repository, or a URL. Raise StatusError without fitting credentials, AnswerError and
        HTTPError.
        """
        start = body.tell() if body else 0

        def request() -> Request:
            url = path if isinstance(path, Url) else Url.parse(f"{self._base}{path}")
            # Uploads and further pages may be on another host, which must not receive the authorization.
            authorization = self._authorization if url.origin == self._base.origin else None
            return Request(method, url, headers or {}, authorization, body, start)

        response = self._send(request)
        if response.status != 401 or response.url.origin != self._base.origin:
            return response
        challenges = parse_challenges(response.header("WWW-Authenticate"))
        response.close()
        actions = "pull" if method in ("GET", "HEAD") else "pull,push"
        answered = answer(challenges, self.credentials, f"repository:{self._repository}:{actions}")
        if answered is None:
            raise StatusError(401)
        self._authorization = answered if isinstance(answered, str) else self._token(answered)
        return self._send(request)

    def shown(self, text: str) -> str:
        """Return a text of a server on one line, with credentials and tokens masked."""
        return one_line(struck_out(text, self.credentials.secrets | self._tokens))

    def _send(self, request: Callable[[], Request]) -> Response:
        """Return one answer; the first one shows whether a registry with plain http needs https after all.

        A server for https answers plain http with status 400. No secret has been sent by then.
        """
        response = self._client.send(request())
        settled, self._scheme_is_known = self._scheme_is_known, True
        if settled or response.status != 400:
            return response
        refused, plain = refusal(response), self._base
        self._base = replace(plain, scheme="https")
        try:
            return self._client.send(request())
        except HTTPError as error:
            if not speaks_no_tls(error):
                raise
            self._base = plain
            raise refused from None

    def _token(self, asked: Request) -> str:
        try:
            token = parse_token(document(self._client.send(asked), 200))
        except StatusError as error:
            raise StatusError(error.status, error.said, asked.url.netloc) from None
        self._tokens.add(token)
        return f"Bearer {token}"


def document(response: Response, status: int) -> bytes:
    """Return the body of an answer. Raise StatusError unless it has this status, and AnswerError if it is too large."""
    if response.status != status:
        raise refusal(response)
    content = response.read(_LARGEST_DOCUMENT)
    if len(content) > _LARGEST_DOCUMENT:
        raise AnswerError(f"the registry's answer is larger than {_LARGEST_DOCUMENT >> 20} MiB; check its address")
    return content


def refusal(response: Response) -> StatusError:
    """Return the error for an answer with an unwanted status, with the server's reason if it gives one."""
    return StatusError(response.status, _said(response.read(_LARGEST_REFUSAL)))


def _said(content: bytes) -> str:
    """Return the first reason in an answer that has the form of errors in the specification."""
    try:
        return str(json.loads(content)["errors"][0]["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
