"""HTTP connections that end at once when their fetch is cancelled; this module loads urllib3."""

from __future__ import annotations

import contextlib
import socket
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies, proxy_bypass

from urllib3 import (
    HTTPConnectionPool,
    HTTPSConnectionPool,
    PoolManager,
    ProxyManager,
    Retry,
    Timeout,
    make_headers,
)
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import parse_url

from step_runner.fetch.host import is_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from urllib3 import BaseHTTPResponse

    from step_runner.fetch.cancellation import Cancellation

_RETRIES = Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5)


@contextmanager
def open_manager(cancellation: Cancellation, timeout: float) -> Iterator[PoolManager]:
    """A pool of connections, each through the proxy that the environment names for its host.

    While the block lasts, a cancel shuts the connections: whoever reads from one gets an error at once. Connecting
    and each single read are given `timeout` seconds. Nothing is tried twice; at most five redirects are followed.
    At its end all connections are closed.
    """
    sockets = _Sockets(cancellation)
    routes = _Routes(_pools(sockets), timeout)
    with contextlib.closing(sockets), cancellation.calling(sockets.shut_down), contextlib.closing(routes):
        yield routes.manager(None)


def proxy_for(url: str) -> str | None:
    """The URL of the proxy that the environment names for `url`; this machine is reached without one, as Go has it."""
    parts, proxies = parse_url(url), getproxies()
    host = parts.host or ""
    if is_here(host) or proxy_bypass(host):
        return None
    proxy = proxies.get(parts.scheme or "") or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


class _Routes:
    """A manager for each proxy, and one for what is reached without any."""

    def __init__(self, pools: dict[str, type[HTTPConnectionPool]], timeout: float) -> None:
        self._pools = pools
        self._limits = Timeout(connect=timeout, read=timeout)
        self._managers: dict[str | None, PoolManager] = {}

    def manager(self, proxy: str | None) -> PoolManager:
        """The one for this proxy, or for none."""
        if proxy not in self._managers:
            made = _Proxied(self, proxy, self._limits) if proxy else _Routed(self, self._limits)
            made.pool_classes_by_scheme = self._pools
            self._managers[proxy] = made
        return self._managers[proxy]

    def close(self) -> None:
        for manager in self._managers.values():
            manager.clear()


class _Routed(PoolManager):
    """Sends what its route is for, and hands on the rest: a redirect may need another proxy, or none."""

    def __init__(self, routes: _Routes, limits: Timeout, **proxy: Any) -> None:
        super().__init__(retries=_RETRIES, timeout=limits, **proxy)
        self._routes = routes

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, redirect: bool = True, **more: Any
    ) -> BaseHTTPResponse:
        right = self._routes.manager(proxy_for(url))
        if right is self:
            return super().urlopen(method, url, redirect, **more)
        # For a proxy urllib3 has put the host into the headers, and leaves it there when it goes on elsewhere.
        headers = {name: value for name, value in (more.get("headers") or {}).items() if name != "Host"}
        return right.urlopen(method, url, redirect, **{**more, "headers": headers})


class _Proxied(_Routed, ProxyManager):
    """Sends through a proxy."""

    def __init__(self, routes: _Routes, proxy: str, limits: Timeout) -> None:
        login = parse_url(proxy).auth
        headers = make_headers(proxy_basic_auth=login) if login else None
        super().__init__(routes, limits, proxy_url=proxy, proxy_headers=headers)


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
