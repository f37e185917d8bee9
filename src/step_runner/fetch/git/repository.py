"""The URL of a git repository, and the credentials for it."""

from __future__ import annotations

import os
import posixpath
import re
import sys
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote_to_bytes

from step_runner.errors import FetchError
from step_runner.fetch.url import Url, UrlError, basic

_SCHEMES = ("https", "http", "file")


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository. Its text, the URL without credentials and query, is its name in messages and in the cache."""

    url: Url

    def __str__(self) -> str:
        return str(self.url)

    @classmethod
    def parse(cls, url: str) -> Repository:
        """Return the repository at `url`; `https://` may be left out. Raise FetchError unless https, http or file."""
        url = url.strip()
        text = url if "://" in url else f"https://{url}"
        try:
            parts = Url.parse(text)
        except UrlError as error:
            raise _refused(text, str(error)) from None
        if parts.scheme not in _SCHEMES:
            raise _refused(text, f"the scheme {parts.scheme} is not supported")
        if bool(parts.host) == (parts.scheme == "file"):
            raise _refused(text, "a file URL has no host" if parts.host else "it has no host")
        return cls(replace(parts, target=parts.target.partition("?")[0].rstrip("/")))

    @property
    def local_path(self) -> str:
        """The directory of a repository with the scheme `file`."""
        if sys.platform == "win32":
            from urllib.request import url2pathname

            return url2pathname(self.url.target)
        # url2pathname of Python 3.14 takes two slashes for the beginning of a host.
        return os.fsdecode(unquote_to_bytes(self.url.target)) or "/"

    def submodule(self, url: str) -> Repository | None:
        """Return the repository that `url` in this one's .gitmodules means, or None if it cannot be fetched.

        Credentials are used only for their own scheme, host and port. Only a local repository may name a local one.
        """
        if url.startswith(("./", "../")):
            return Repository(replace(self.url, target=posixpath.normpath(f"{self.url.target}/{url}")))
        local = self.url.scheme == "file"
        if local and url.startswith("/"):
            url = f"file://{quote(url)}"
        if not url.startswith(("https://", "http://", "file://" if local else "http://")):
            return None
        try:
            other = Repository.parse(url)
        except FetchError:
            return None
        if other.url.user is not None or self.url.origin != other.url.origin:
            return other
        return Repository(replace(other.url, user=self.url.user, password=self.url.password))

    @property
    def secrets(self) -> frozenset[str]:
        """The secrets to mask, in each form in which they are sent; a user without a password is a token."""
        if not (secret := self.url.password or self.url.user):
            return frozenset()
        return frozenset({secret, self.basic, self.basic.rstrip("=")})

    @property
    def basic(self) -> str:
        """User and password in base64, as HTTP sends them."""
        return basic(self.url.user, self.url.password)


def _refused(url: str, reason: str) -> FetchError:
    shown = re.sub(r"//.*@", "//", url, flags=re.DOTALL)
    return FetchError(f"cannot fetch from {shown!r}: {reason}; write an https, http or file URL")
