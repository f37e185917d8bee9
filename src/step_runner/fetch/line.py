"""What went wrong on the line to a server, in words for a person; this module loads urllib3."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from urllib3.exceptions import (
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    SSLError,
    TimeoutError,  # noqa: A004
)

if TYPE_CHECKING:
    from urllib3.exceptions import HTTPError

CLOSED = "the server closed the connection in the middle; try again"


def cause_of(error: HTTPError) -> Exception:
    """What is behind an error of urllib3, which wraps it when it gives up."""
    return error.reason if isinstance(error, MaxRetryError) and error.reason else error


def line_reason(error: HTTPError, host: str) -> str:
    """What happened on the line to `host`, and what to do."""
    cause = cause_of(error)
    match cause:
        case NameResolutionError():
            return f"the host {host} is not known; check the URL and the network"
        case ProxyError():
            return "the proxy cannot be reached or refused; check the proxy settings"
        case NewConnectionError():
            return f"no connection to {host} ({_system_text(cause)}); check the URL and the network"
        case TimeoutError():
            return "the server did not answer in time; check the network, or try again later"
        case SSLError():
            return f"no secure connection ({_tls_text(cause)}); for a private authority, name its file in SSL_CERT_FILE"
        case _:
            return CLOSED


def _system_text(error: Exception) -> str:
    cause = error.__cause__ or error.__context__
    return (cause.strerror if isinstance(cause, OSError) and cause.strerror else "refused").lower()


def _tls_text(error: Exception) -> str:
    cause = next((argument for argument in error.args if isinstance(argument, ssl.SSLError)), None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    return cause.reason.lower().replace("_", " ") if cause and cause.reason else "TLS failed"
