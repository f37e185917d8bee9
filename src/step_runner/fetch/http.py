"""Requests to a registry: tried again a few times, and redirected without secrets; this module loads urllib3."""

from __future__ import annotations

import email.utils
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING

from urllib3.exceptions import (
    HTTPError,
    LocationValueError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

from step_runner.fetch.connection import open_routes
from step_runner.fetch.url import UrlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from urllib3 import BaseHTTPResponse

    from step_runner.fetch.cancellation import Cancellation
    from step_runner.fetch.connection import Routes
    from step_runner.fetch.url import Url

PAUSES = (0.5, 2.0)
"""Seconds between the attempts of one request, where the server does not say how long to wait."""

LONGEST_PAUSE = 30.0
"""Seconds that a server may ask to wait; one that wants more time is given up."""

_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NO_URL = "the server refers to an address that is no http URL; tell who runs it"
_FOR_A_WHILE = frozenset({408, 429, 500, 502, 503, 504})
_FOR_GOOD = (NewConnectionError, ProxyError, SSLError, LocationValueError)


class AnswerError(Exception):
    """An answer that is not what was asked for, and why."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a server; `authorization` goes to the host of `url` and to no other one.

    The body is what follows in the seekable `body` from `start` on.
    """

    method: str
    url: Url
    headers: Mapping[str, str] = field(default_factory=dict)
    authorization: str | None = field(default=None, repr=False)
    body: IO[bytes] | None = field(default=None, repr=False)
    start: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """An answer whose body is still to be read, and the URL that gave it in the end."""

    http: BaseHTTPResponse
    url: Url

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.http.status

    def header(self, name: str) -> str:
        """A header, empty if there is none."""
        return self.http.headers.get(name) or ""

    def read(self, limit: int) -> bytes:
        """The body, of which `limit` + 1 bytes are read at most; the connection is given back."""
        try:
            return self.http.read(limit + 1, decode_content=False)
        finally:
            self.close()

    def read_some(self, size: int) -> bytes:
        """The next bytes of the body; fewer than `size` come at its end only."""
        return self.http.read(size, decode_content=False)

    def close(self) -> None:
        """Give the connection back, or close it where there is more to be read."""
        if self.http.length_remaining == 0:
            # An answer that was not read to its end, even an empty one, keeps its connection from the next request.
            self.http.drain_conn()
        else:
            self.http.close()
        self.http.release_conn()


class Transport:
    """Sends requests, by one thread; a cancel ends them."""

    def __init__(self, routes: Routes, cancellation: Cancellation) -> None:
        self._routes = routes
        self._cancellation = cancellation

    def send(self, request: Request) -> Response:
        """The answer to a request, which is sent three times at most while the server is busy or breaks off.

        HTTPError: there is no answer. AnswerError: a redirect leads nowhere. StoppedError: cancelled.
        """
        for pause in PAUSES:
            response = self._follow_unless_broken(request)
            if response:
                asked = pause_after(response.status, response.header("Retry-After"), time.time(), pause)
                if asked is None:
                    return response
                pause = asked
                response.close()
            self._cancellation.wait(pause)
        return self.follow(request)

    def _follow_unless_broken(self, request: Request) -> Response | None:
        """One attempt, None where the line broke, which may be better the next time."""
        try:
            return self.follow(request)
        except HTTPError as error:
            if isinstance(error, _FOR_GOOD):
                raise
            return None

    def follow(self, request: Request) -> Response:
        """Send a request once, and follow the redirects of one that only reads. Raise what `send` raises."""
        for _ in range(_MOST_REDIRECTS):
            response = self._send(request)
            if response.status not in _REDIRECTS or request.method not in ("GET", "HEAD"):
                return response
            response.close()
            request = redirected(request, response.header("Location"))
        raise AnswerError(f"the server redirects more than {_MOST_REDIRECTS} times; try again later")

    def _send(self, request: Request) -> Response:
        self._cancellation.check()
        headers = {"Accept-Encoding": "identity", "User-Agent": "step-runner", **request.headers}
        if request.authorization:
            headers["Authorization"] = request.authorization
        if request.body:
            request.body.seek(request.start)
        http = self._routes.request(request.method, request.url, headers, request.body)
        return Response(http, request.url)


@contextmanager
def open_transport(cancellation: Cancellation, timeout: float) -> Iterator[Transport]:
    """Connections for requests; see `open_routes`."""
    with open_routes(cancellation, timeout) as routes:
        yield Transport(routes, cancellation)


def joined(url: Url, reference: str) -> Url:
    """The URL for http that a reference means at `url`. AnswerError: it means none, or one without encryption."""
    try:
        found = url.joined(reference)
    except UrlError:
        raise AnswerError(_NO_URL) from None
    if found.scheme not in ("http", "https") or not found.host:
        raise AnswerError(_NO_URL)
    if (url.scheme, found.scheme) == ("https", "http"):
        raise AnswerError("the server redirects from https to http, which is refused; tell who runs it")
    return found


def redirected(request: Request, location: str) -> Request:
    """The request to send after a redirect, without secrets to another host. AnswerError: it leads nowhere."""
    url = joined(request.url, location)
    kept = request.authorization if url.origin == request.url.origin else None
    return replace(request, url=url, authorization=kept)


def pause_after(status: int, retry_after: str, now: float, otherwise: float) -> float | None:
    """The seconds to wait before a request is sent again, None where this answer stands.

    `retry_after` is the header, empty if there is none, and `now` the time in seconds since 1970.
    """
    if status not in _FOR_A_WHILE:
        return None
    asked = _asked_pause(retry_after.strip(), now, otherwise)
    return asked if asked <= LONGEST_PAUSE else None


def _asked_pause(text: str, now: float, otherwise: float) -> float:
    """The seconds that the header Retry-After asks for: RFC 9110, section 10.2.3."""
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return otherwise
