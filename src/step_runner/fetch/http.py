"""Sends HTTP requests: retries busy servers, follows redirects without secrets, ends at a cancel; loads urllib3.

The loops are not those of urllib3. Its `Retry` sleeps through a cancel and fails at a Retry-After that it cannot read.
It follows a redirect through the proxy of the first host, and from https to http.
"""

from __future__ import annotations

import contextlib
import email.utils
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any
from urllib.request import getproxies, proxy_bypass

from urllib3 import PoolManager, ProxyManager, Timeout, make_headers
from urllib3.exceptions import HTTPError, LocationValueError, NewConnectionError, ProxyError, SSLError
from urllib3.poolmanager import pool_classes_by_scheme
from urllib3.util import parse_url

from step_runner.fetch.messages import AnswerError
from step_runner.fetch.url import UrlError, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from urllib3 import BaseHTTPResponse

    from step_runner.fetch.url import Url
    from step_runner.proc import Proc

PAUSES = (0.5, 2.0)
"""Seconds between the attempts of one request, unless the server names a time."""

LONGEST_PAUSE = 30.0
"""Longest wait in seconds that a server may ask for; a longer one ends the request."""

_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NO_URL = "the server refers to an address that is not an http URL; contact its operator"
_FOR_A_WHILE = frozenset({408, 429, 500, 502, 503, 504})
_FOR_GOOD = (NewConnectionError, ProxyError, SSLError, LocationValueError)


class StatusError(Exception):
    """The unwanted HTTP status of an answer, and the server's reason, if any, which may hold secrets.

    `host` is the host of a token server, as the registry names it.
    """

    def __init__(self, status: int, said: str = "", host: str = "") -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.said = said
        self.host = host


@dataclass(frozen=True, slots=True)
class Request:
    """A request; `authorization` is sent to the host of `url` and to no other one.

    The body of the request is the content of the seekable `body` from `start` on.
    """

    method: str
    url: Url
    headers: Mapping[str, str] = field(default_factory=dict)
    authorization: str | None = field(default=None, repr=False)
    body: IO[bytes] | None = field(default=None, repr=False)
    start: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """An answer with an unread body, and its URL after all redirects."""

    http: BaseHTTPResponse
    url: Url

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.http.status

    def header(self, name: str) -> str:
        """Return a header, or an empty text if it is missing."""
        return self.http.headers.get(name) or ""

    def read(self, limit: int) -> bytes:
        """Return at most `limit` + 1 bytes of the body, and return the connection to its pool."""
        try:
            return self.read_some(limit + 1)
        finally:
            self.close()

    def read_some(self, size: int) -> bytes:
        """Return the next `size` bytes of the body; fewer only at its end."""
        return self.http.read(size, decode_content=False)

    def close(self) -> None:
        """Return the connection to its pool, or close it if the body was not read to its end."""
        if self.http.length_remaining == 0:
            # urllib3 reuses a connection only after the end of its answer was read, even if the body is empty.
            self.http.drain_conn()
        else:
            self.http.close()
        self.http.release_conn()


@contextmanager
def open_client(proc: Proc, timeout: float) -> Iterator[Client]:
    """Yield the HTTP client of one fetch, for one thread.

    While the block runs, a cancel shuts the connections down, so a thread that waits for one gets an error at once.
    `timeout`, in seconds, limits each connect and each read. At the end of the block all connections are closed.
    """
    client = Client(proc, timeout)
    with contextlib.closing(client), proc.listening(lambda _: client.shut_down()):
        yield client


class Client:
    """Sends requests, each through the proxy that the environment names for its host."""

    def __init__(self, proc: Proc, timeout: float) -> None:
        self._proc = proc
        self._limits = Timeout(connect=timeout, read=timeout)
        self._managers: dict[str | None, PoolManager] = {}
        self._handles: list[socket.socket] = []
        self._pools = {scheme: self._noting(pool) for scheme, pool in pool_classes_by_scheme.items()}

    def send(self, request: Request) -> Response:
        """Return the answer to a request. Send it at most three times, if the server is busy or the connection breaks.

        Raise HTTPError if there is no answer, AnswerError if a redirect cannot be followed, and StoppedError.
        """
        for pause in PAUSES:
            wait = pause
            try:
                response = self.follow(request)
            except _FOR_GOOD:
                raise
            except HTTPError:
                """The connection broke, which may be better the next time."""
            else:
                asked = pause_after(response.status, response.header("Retry-After"), time.time(), pause)
                if asked is None:
                    return response
                response.close()
                wait = asked
            self._proc.pause(wait)
        return self.follow(request)

    def follow(self, request: Request) -> Response:
        """Return the first answer to a request that is not a redirect. Raise as `send`."""
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._send(request)
            if response.status not in _REDIRECTS or request.method not in ("GET", "HEAD"):
                return response
            response.close()
            request = redirected(request, response.header("Location"))
        raise AnswerError(f"the server redirects more than {_MOST_REDIRECTS} times; try again later")

    def shut_down(self) -> None:
        """Shut all connections down, which wakes the thread that reads from or writes to one of them."""
        for handle in tuple(self._handles):
            with contextlib.suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections, also those in pools of urllib3, which leaves them to the garbage collector."""
        self.shut_down()
        for manager in self._managers.values():
            manager.clear()
        for handle in self._handles:
            handle.close()

    def _send(self, request: Request) -> Response:
        self._proc.check()
        headers = {"Accept-Encoding": "identity", "User-Agent": "step-runner", **request.headers}
        if request.authorization:
            headers["Authorization"] = request.authorization
        if request.body:
            request.body.seek(request.start)
        http = self._manager(proxy_for(request.url)).request(
            request.method,
            str(request.url),
            body=request.body,
            headers=headers,
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
        )
        return Response(http, request.url)

    def _manager(self, proxy: str | None) -> PoolManager:
        if proxy not in self._managers:
            made = _proxied(proxy, self._limits) if proxy else PoolManager(timeout=self._limits)
            made.pool_classes_by_scheme = self._pools
            self._managers[proxy] = made
        return self._managers[proxy]

    def _noting(self, pool: Any) -> Any:
        """Return a class of pools that keeps a duplicate handle of each socket, because TLS detaches the first one."""

        class Connection(pool.ConnectionCls):  # type: ignore[misc]
            def _new_conn(connection) -> socket.socket:  # noqa: N805
                opened: socket.socket = super()._new_conn()
                self._handles.append(opened.dup())
                if self._proc.cancelled:
                    self.shut_down()
                return opened

        return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def _proxied(proxy: str, limits: Timeout) -> ProxyManager:
    login = parse_url(proxy).auth
    return ProxyManager(proxy, proxy_headers=make_headers(proxy_basic_auth=login) if login else None, timeout=limits)


def proxy_for(url: Url) -> str | None:
    """Return the URL of the proxy that the environment names for `url`; as in Go, None for this machine."""
    proxies, host = getproxies(), url.host.strip("[]")
    if is_loopback(host) or proxy_bypass(host):
        return None
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def joined(url: Url, reference: str) -> Url:
    """Return the http or https URL of a reference, relative to `url`. Raise AnswerError, also for https to http."""
    try:
        found = url.joined(reference)
    except UrlError:
        raise AnswerError(_NO_URL) from None
    if found.scheme not in ("http", "https") or not found.host:
        raise AnswerError(_NO_URL)
    if (url.scheme, found.scheme) == ("https", "http"):
        raise AnswerError("the server redirects from https to http, which is refused; contact its operator")
    return found


def redirected(request: Request, location: str) -> Request:
    """Return the request to send after a redirect, without secrets to another host. Raise AnswerError as `joined`."""
    url = joined(request.url, location)
    kept = request.authorization if url.origin == request.url.origin else None
    return replace(request, url=url, authorization=kept)


def pause_after(status: int, retry_after: str, now: float, otherwise: float) -> float | None:
    """Return the seconds to wait before a retry, or None if this answer is final.

    `retry_after` is the header, or empty; `now` is the time in seconds since 1970.
    """
    if status not in _FOR_A_WHILE:
        return None
    asked = _asked_pause(retry_after.strip(), now, otherwise)
    return asked if asked <= LONGEST_PAUSE else None


def _asked_pause(text: str, now: float, otherwise: float) -> float:
    """Return the seconds that the header Retry-After asks for: RFC 9110, section 10.2.3."""
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return otherwise
