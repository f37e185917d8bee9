"""Parses URLs once, for checks and for requests.

Libraries disagree about unusual text: one sees the end of a host where another sees the end of a password. So only
text with one meaning for all of them is accepted, and requests use a URL that is written from the parsed parts.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlencode, urljoin

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PORTS = {"https": 443, "http": 80}

# RFC 3986, section 3, without percent signs in a host, and without `@` where it could still end a host.
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?:(?P<login>[^/?#@\[\]]*)@)?"
    r"(?P<host>[A-Za-z0-9._~-]*|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]*))?"
    r"(?P<target>/[^#]*|\?[^#@]*|)"
    r"(?:#[^@]*)?"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LARGEST_PORT = 65535


class UrlError(ValueError):
    """The reason why a text is not a valid URL."""


@dataclass(frozen=True, slots=True)
class Url:
    """A URL without its fragment; its text has no credentials.

    `host` has lower case, and brackets around an IPv6 address; `port` is None where it is that of the scheme.
    """

    scheme: str
    host: str
    port: int | None
    target: str
    user: str | None = field(default=None, repr=False, compare=False)
    password: str | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.target}"

    @classmethod
    def parse(cls, text: str) -> Url:
        """Return the URL in a text. Raise UrlError if two programs could read it differently."""
        _check(text)
        found = _URL.fullmatch(text)
        if found is None:
            raise UrlError("its host, port or login is not clear: write @ in a login as %40")
        scheme = found["scheme"].lower()
        port = int(found["port"] or 0) or None
        if (port or 0) > _LARGEST_PORT:
            raise UrlError(f"its port is larger than {_LARGEST_PORT}")
        user, _, password = (found["login"] or "").partition(":")
        return cls(
            scheme,
            found["host"].lower(),
            None if port == DEFAULT_PORTS.get(scheme) else port,
            found["target"],
            unquote(user) or None,
            unquote(password) or None,
        )

    def joined(self, reference: str) -> Url:
        """Return the URL of a reference, relative to this one. Raise UrlError as `parse`."""
        _check(reference)
        try:
            return Url.parse(urljoin(str(self), reference))
        except ValueError as error:
            raise UrlError(str(error)) from None

    def asking(self, query: Mapping[str, str]) -> Url:
        """Return this URL with these parameters added after its own."""
        return replace(self, target=f"{self.target}{'&' if '?' in self.target else '?'}{urlencode(query)}")

    @property
    def netloc(self) -> str:
        """The host, with its port unless that is the default of the scheme."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str]:
        """The scheme, and the host with its port, for which credentials are valid."""
        return self.scheme, self.netloc


def basic(user: str | None, password: str | None) -> str:
    """Return user and password in base64, as HTTP sends them: RFC 7617; empty without them."""
    login = f"{user or ''}:{password or ''}" if user or password else ""
    return base64.b64encode(login.encode()).decode()


def is_loopback(host: str) -> bool:
    """Return whether a host, without its port, is this machine: RFC 6761, section 6.3, and loopback addresses."""
    name = host.lower().strip("[]").rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _check(text: str) -> None:
    # urljoin drops some control characters, and browsers read a backslash as a slash.
    if _CONTROL.search(text):
        raise UrlError("it has control characters")
    if "\\" in text:
        raise UrlError("it has a backslash")
