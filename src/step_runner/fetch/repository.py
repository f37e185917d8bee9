"""Where a git repository is, and with which credentials it is read."""

from __future__ import annotations

import base64
import posixpath
import re
import sys
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, quote, unquote, urlsplit

from step_runner.errors import FetchError

_SCHEMES = ("https", "http", "file")
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository; its text is its URL without credentials and query, which names it in messages and in the cache."""

    scheme: str
    host: str
    path: str
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}"

    @classmethod
    def parse(cls, url: str) -> Repository:
        """The repository at `url`, where `https://` may be left out. FetchError: no https, http or file URL."""
        url = url.strip()
        text = url if "://" in url else f"https://{url}"
        try:
            parts = urlsplit(text)
            host = _host(parts)
        except ValueError as error:
            raise _refused(text, str(error)) from None
        if parts.scheme not in _SCHEMES:
            raise _refused(text, f"the scheme {parts.scheme} is not supported")
        if bool(host) == (parts.scheme == "file"):
            raise _refused(text, "a file URL has no host" if host else "it has no host")
        if re.search(r"[\x00-\x1f\x7f]", text):
            raise _refused(text, "it has control characters")
        user, password = (unquote(value) if value else None for value in (parts.username, parts.password))
        return cls(parts.scheme, host, parts.path.rstrip("/"), user, password)

    @property
    def local_path(self) -> str:
        """The directory of a repository with the scheme `file`."""
        if sys.platform == "win32":
            from urllib.request import url2pathname

            return url2pathname(self.path)
        return unquote(self.path) or "/"

    def submodule(self, url: str) -> Repository | None:
        """The repository that `url` in this one's .gitmodules means, or None if that cannot be fetched.

        Credentials stay with their scheme, host and port. Only a local repository may name a local one.
        """
        if url.startswith(("./", "../")):
            return replace(self, path=posixpath.normpath(f"{self.path}/{url}"))
        local = self.scheme == "file"
        if local and url.startswith("/"):
            url = f"file://{quote(url)}"
        if not url.startswith(("https://", "http://", "file://" if local else "http://")):
            return None
        try:
            return self._lend_credentials(Repository.parse(url))
        except FetchError:
            return None

    def _lend_credentials(self, other: Repository) -> Repository:
        if other.user is not None or (self.scheme, self.host) != (other.scheme, other.host):
            return other
        return replace(other, user=self.user, password=self.password)

    @property
    def secrets(self) -> frozenset[str]:
        """What must not be shown, in each form in which it is sent; a user without a password is a token."""
        if not (secret := self.password or self.user):
            return frozenset()
        basic = base64.b64encode(f"{self.user or ''}:{self.password or ''}".encode()).decode()
        return frozenset({secret, basic, basic.rstrip("=")})


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if parts.port is None or parts.port == _DEFAULT_PORTS.get(parts.scheme):
        return host
    return f"{host}:{parts.port}"


def _refused(url: str, reason: str) -> FetchError:
    shown = re.sub(r"//.*@", "//", url, flags=re.DOTALL)
    return FetchError(f"cannot fetch from {shown!r}: {reason}; write an https, http or file URL")
