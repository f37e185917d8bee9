"""Messages about a fetch: makes texts of servers safe to show, and explains each error in one sentence."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from step_runner.errors import FetchError, StepRunnerError
from step_runner.fetch.cache import VARIABLE

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    from urllib3.connection import HTTPConnection
    from urllib3.exceptions import HTTPError, SSLError

    from step_runner.proc import Proc

CLOSED = "the server closed the connection in the middle; try again"
PROXY_LOGIN = "the proxy asks for credentials; write user:password@ in front of its host"

_PRIVILEGE_NOT_HELD = 1314  # ERROR_PRIVILEGE_NOT_HELD of Windows


class RefusedError(Exception):
    """A reason why a fetch cannot go on, and what to do, as part of a sentence."""


class AnswerError(RefusedError):
    """An answer that does not fit its request."""


@contextmanager
def explained(
    what: str, proc: Proc, reason: Callable[[Exception], str], kinds: tuple[type[Exception], ...] = (Exception,)
) -> Iterator[None]:
    """Turn errors of these kinds into a FetchError that begins with `what`, or into a StoppedError after a cancel.

    A server can send any bytes, and for some of them libraries raise errors of any class.
    """
    try:
        yield
    except kinds as error:
        proc.check()
        if isinstance(error, StepRunnerError):
            raise
        # Without the cause: a library's error may show the headers of the request.
        raise FetchError(f"{what}: {reason(error)}") from None


def reason_of(error: Exception, host: str, shown: Callable[[str], str], otherwise: str) -> str:
    """Return the reason of an error, and what to do; `otherwise` is for unknown errors.

    `host` is the host of the first request. The name of any other host came from a server; `shown` makes it safe to
    show.
    """
    if isinstance(error, RefusedError):
        return str(error)
    # Loading urllib3 takes a twentieth of a second, so it is loaded only for errors that it can have raised.
    from urllib3.exceptions import HTTPError

    if isinstance(error, HTTPError):
        return _connection_reason(error, host, shown)
    return disk_reason(error) if isinstance(error, OSError) else otherwise


def disk_reason(error: OSError) -> str:
    """Return why a file cannot be written, and what to do."""
    # Errors have this attribute on Windows only.
    if getattr(error, "winerror", None) == _PRIVILEGE_NOT_HELD:
        return "it has a symbolic link, and Windows lets this user make none; switch on Developer Mode"
    reason = " ".join(str(error.strerror or error).lower().split()) or type(error).__name__.lower()
    return f"it cannot be written: {reason}; make room, or set {VARIABLE} to another directory"


def one_line(text: str) -> str:
    """Return at most 200 characters on one line, without control characters, which a terminal would interpret."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:200]


def struck_out(text: str, secrets: Iterable[str]) -> str:
    """Return the whole text with each secret masked, both as it is and as encoded in URLs and forms.

    The search ignores case, because names of hosts and escapes such as `%2F` do.
    """
    written = {form for secret in secrets for form in (secret, quote(secret), quote(secret, ""), quote_plus(secret))}
    longest_first = sorted(written - {""}, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), "***", text, flags=re.IGNORECASE) if longest_first else text


def speaks_no_tls(error: HTTPError) -> bool:
    """Return whether TLS failed before the server sent a certificate."""
    import ssl

    from urllib3.exceptions import SSLError

    return isinstance(error, SSLError) and not isinstance(_tls_error(error), ssl.SSLCertVerificationError)


def _connection_reason(error: HTTPError, own: str, shown: Callable[[str], str]) -> str:
    from urllib3 import exceptions

    match error:
        case exceptions.NameResolutionError():
            return f"the host {_host(error.conn, own, shown)} is not known; check the URL and the network"
        case exceptions.ProxySchemeUnknown():
            return "the proxy is not an HTTP proxy; check the proxy settings"
        case exceptions.LocationValueError():
            return "the address is not a valid URL; check its host and port"
        case exceptions.ProxyError():
            return "the proxy is unreachable or refused the connection; check the proxy settings"
        case exceptions.NewConnectionError():
            cause = error.__cause__ or error.__context__
            system = (cause.strerror if isinstance(cause, OSError) and cause.strerror else "refused").lower()
            return f"no connection to {_host(error.conn, own, shown)} ({system}); check the URL and the network"
        case exceptions.TimeoutError():
            return "the server did not answer in time; check the network, or try again later"
        case exceptions.SSLError():
            return f"no secure connection ({_tls_text(error)}); for a private authority, name its file in SSL_CERT_FILE"
        case _:
            return CLOSED


def _host(connection: HTTPConnection, own: str, shown: Callable[[str], str]) -> str:
    """Return the host as in a URL, with its port unless that is the default."""
    name = f"[{connection.host}]" if ":" in connection.host else connection.host
    host = name if connection.port in (None, connection.default_port) else f"{name}:{connection.port}"
    return host if host == own else shown(host)


def _tls_text(error: SSLError) -> str:
    import ssl

    cause = _tls_error(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    return cause.reason.lower().replace("_", " ") if cause and cause.reason else "TLS failed"


def _tls_error(error: Exception) -> ssl.SSLError | None:
    import ssl

    return next((argument for argument in error.args if isinstance(argument, ssl.SSLError)), None)
