"""HTTP connections that end at once when their fetch is cancelled; this module loads urllib3."""

from __future__ import annotations

import contextlib
import socket
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, TypeAlias
from urllib.request import getproxies, proxy_bypass

from urllib3 import (
    HTTPConnectionPool,
    HTTPSConnectionPool,
    PoolManager,
    ProxyManager,
    Timeout,
    make_headers,
)
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import parse_url

from step_runner.fetch.url import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from urllib3 import BaseHTTPResponse

    from step_runner.fetch.cancellation import Cancellation
    from step_runner.fetch.url import Url

Body: TypeAlias = "IO[bytes] | None"


@contextmanager
def open_routes(cancellation: Cancellation, timeout: float) -> Iterator[Routes]:
    """Pools of connections, each through the proxy that the environment names for its host.

    While the block lasts, a cancel shuts the connections: whoever reads from one gets an error at once. Connecting
    and each single read are given `timeout` seconds. At its end all connections are closed.
    """
    sockets = _Sockets(cancellation)
    routes = Routes(_pools(sockets), timeout)
    with contextlib.closing(sockets), cancellation.calling(sockets.shut_down), contextlib.closing(routes):
        yield routes


def proxy_for(url: Url) -> str | None:
    """The URL of the proxy that the environment names for `url`; this machine is reached without one, as Go has it."""
    proxies, host = getproxies(), url.host.strip("[]")
    if is_loopback(host) or proxy_bypass(host):
        return None
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


class Routes:
    """A manager for each proxy, and one for what is reached without any."""

    def __init__(self, pools: dict[str, type[HTTPConnectionPool]], timeout: float) -> None:
        self._pools = pools
        self._limits = Timeout(connect=timeout, read=timeout)
        self._managers: dict[str | None, PoolManager] = {}

    def request(self, method: str, url: Url, headers: Mapping[str, str], body: Body) -> BaseHTTPResponse:
        """Send a request once; its answer is still to be read. Raise HTTPError where there is no answer."""
        return self._manager(proxy_for(url)).request(
            method,
            str(url),
            body=body,
            headers=headers,
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
        )

    def _manager(self, proxy: str | None) -> PoolManager:
        if proxy not in self._managers:
            made = self._proxied(proxy) if proxy else PoolManager(timeout=self._limits)
            made.pool_classes_by_scheme = self._pools
            self._managers[proxy] = made
        return self._managers[proxy]

    def _proxied(self, proxy: str) -> ProxyManager:
        login = parse_url(proxy).auth
        return ProxyManager(
            proxy, proxy_headers=make_headers(proxy_basic_auth=login) if login else None, timeout=self._limits
        )

    def close(self) -> None:
        """Close all connections."""
        for manager in self._managers.values():
            manager.clear()


def _pools(sockets: _Sockets) -> dict[str, type[HTTPConnectionPool]]:
    """The classes by which urllib3 makes connections, each of whose sockets is opened by `sockets`."""

    class Connection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return sockets.open(super()._new_conn)

    class SecureConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return sockets.open(super()._new_conn)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}


class _Sockets:
    """The open sockets of a fetch: a second handle of each, since TLS takes the first one away."""

    def __init__(self, cancellation: Cancellation) -> None:
        self._cancellation = cancellation
        self._lock = threading.Lock()
        self._handles: list[socket.socket] = []

    def open(self, connect: Callable[[], socket.socket]) -> socket.socket:
        """What `connect` opens. StoppedError: cancelled before it was open."""
        opened = _abandonable(connect, self._cancellation)
        with self._lock:
            self._handles.append(opened.dup())
        if self._cancellation.cancelled:
            self.shut_down()
        return opened

    def shut_down(self) -> None:
        """Wake every thread that reads from or writes to one of the sockets."""
        with self._lock:
            for handle in self._handles:
                with contextlib.suppress(OSError):
                    handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connections, those that urllib3 still holds as well: it leaves them to the garbage collector."""
        self.shut_down()
        with self._lock:
            while self._handles:
                self._handles.pop().close()


def _abandonable(connect: Callable[[], socket.socket], cancellation: Cancellation) -> socket.socket:
    """What `connect` returns, unless a cancel comes first: looking up a name cannot be interrupted, only left behind.

    The thread that is left behind ends with its timeout, and closes what it opens.
    """
    result: Future[socket.socket] = Future()
    ready = threading.Event()
    result.add_done_callback(lambda _: ready.set())
    threading.Thread(target=_fulfil, args=(result, connect), name="connect", daemon=True).start()
    with cancellation.calling(ready.set):
        ready.wait()
    if cancellation.cancelled:
        result.add_done_callback(_discard)
        cancellation.check()
    return result.result()


def _fulfil(result: Future[socket.socket], connect: Callable[[], socket.socket]) -> None:
    try:
        result.set_result(connect())
    except BaseException as error:
        result.set_exception(error)


def _discard(result: Future[socket.socket]) -> None:
    if result.exception() is None:
        result.result().close()
