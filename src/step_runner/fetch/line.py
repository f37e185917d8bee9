"""What went wrong on the line to a server, in words for a person; this module loads urllib3."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from urllib3.exceptions import (
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ProxySchemeUnknown,
    SSLError,
    TimeoutError,  # noqa: A004
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from urllib3.connection import HTTPConnection
    from urllib3.exceptions import HTTPError

CLOSED = "the server closed the connection in the middle; try again"


def speaks_no_tls(error: HTTPError) -> bool:
    """Whether TLS failed before there was a certificate to look at."""
    return isinstance(error, SSLError) and not isinstance(_tls_error(error), ssl.SSLCertVerificationError)


def line_reason(error: HTTPError, own: str, shown: Callable[[str], str]) -> str:
    """What happened on the line, and what to do.

    `own` is the host that was meant; another one was named by a server, and `shown` makes its name fit to be shown.
    """
    match error:
        case NameResolutionError():
            return f"the host {_host(error.conn, own, shown)} is not known; check the URL and the network"
        case ProxySchemeUnknown():
            return "the proxy is none for http; check the proxy settings"
        case LocationValueError():
            return "the address is no URL; check its host and port"
        case ProxyError():
            return "the proxy cannot be reached or refused; check the proxy settings"
        case NewConnectionError():
            host = _host(error.conn, own, shown)
            return f"no connection to {host} ({_system_text(error)}); check the URL and the network"
        case TimeoutError():
            return "the server did not answer in time; check the network, or try again later"
        case SSLError():
            return f"no secure connection ({_tls_text(error)}); for a private authority, name its file in SSL_CERT_FILE"
        case _:
            return CLOSED


def _host(connection: HTTPConnection, own: str, shown: Callable[[str], str]) -> str:
    """The host with its port, if that is not the usual one, as URLs have them."""
    name = f"[{connection.host}]" if ":" in connection.host else connection.host
    host = name if connection.port in (None, connection.default_port) else f"{name}:{connection.port}"
    return host if host == own else shown(host)


def _system_text(error: Exception) -> str:
    cause = error.__cause__ or error.__context__
    return (cause.strerror if isinstance(cause, OSError) and cause.strerror else "refused").lower()


def _tls_text(error: Exception) -> str:
    cause = _tls_error(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    return cause.reason.lower().replace("_", " ") if cause and cause.reason else "TLS failed"


def _tls_error(error: Exception) -> ssl.SSLError | None:
    return next((argument for argument in error.args if isinstance(argument, ssl.SSLError)), None)
