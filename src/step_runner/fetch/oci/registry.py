"""The client of one repository in a registry; this module loads urllib3.

It follows the OCI distribution specification 1.1. It does not use the library oras (0.2), for these reasons. oras
returns a manifest as an object, so its digest can no longer be checked, and it checks the digest of no blob. It waits
for ever for a silent server. It sleeps for two minutes in total between its attempts, and a cancel does not wake it.
It does not support identity tokens.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from urllib3.exceptions import HTTPError

from step_runner.errors import FetchError
from step_runner.fetch.http import StatusError, joined, open_client
from step_runner.fetch.messages import PROXY_LOGIN, AnswerError, explained, reason_of
from step_runner.fetch.oci.digest import hashed
from step_runner.fetch.oci.manifest import DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST, digest_of, is_digest, matches
from step_runner.fetch.oci.names import image_name, registry_url, repository_on
from step_runner.fetch.oci.session import Session, document
from step_runner.fetch.url import Url, UrlError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager

    from step_runner.fetch.http import Response
    from step_runner.fetch.oci.credentials import Credentials
    from step_runner.fetch.oci.manifest import Descriptor
    from step_runner.proc import Proc

TIMEOUT = 30.0
"""Timeout in seconds of each connect, and of each silence of a registry."""

PIECE = 1 << 20
"""Most bytes of a blob to read at once."""

_MOST_BREAKS = 3
_MANIFESTS = ", ".join((INDEX, MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST))
_MOST_PAGES = 1000
_MOST_TAGS = 100_000
_REFUSED = "the registry refuses the credentials (HTTP {status}); check DOCKER_AUTH_CONFIG and the user's rights"
_REASONS = {
    401: _REFUSED,
    403: _REFUSED,
    404: "the blob or the repository does not exist (HTTP 404{quoted}); push the image again",
    407: PROXY_LOGIN,
    413: "the image is too large for the registry (HTTP 413); make it smaller, or raise the registry's limit",
    416: "the registry has less of a blob than was promised (HTTP 416); push the image again",
    429: "the registry has had too many requests (HTTP 429); try again later, or with credentials",
}
_OF_THE_ASKER = (401, 403, 407, 429)  # about the client: the message is the same for each server


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as the registry stores it; its digest is that of its bytes."""

    content: bytes = field(repr=False)
    media_type: str

    @property
    def digest(self) -> str:
        """The digest by which the registry names it."""
        return digest_of(self.content)


@contextmanager
def open_repository(
    registry: str,
    repository: str,
    credentials: Credentials,
    proc: Proc,
    *,
    timeout: float = TIMEOUT,
) -> Iterator[ImageRepository]:
    """Yield the client of `registry/repository`, for one thread and while the block runs.

    Nothing is sent yet. `timeout`, in seconds, limits each connect and each silence. Raise FetchError if the host is
    not valid.
    """
    try:
        url = Url.parse(registry_url(registry))
    except UrlError:
        raise FetchError(f"{registry}/{repository}: the address is not a valid URL; check its host and port") from None
    with open_client(proc, timeout) as client:
        session = Session(url, repository_on(registry, repository), credentials, client)
        yield ImageRepository(f"{registry}/{repository}", session, proc)


class ImageRepository:
    """A repository of images.

    All methods raise FetchError with one sentence that begins with the name of the image, and StoppedError after a
    cancel.
    """

    def __init__(self, name: str, session: Session, proc: Proc) -> None:
        self.name = name
        self._session = session
        self._proc = proc

    def named(self, reference: str) -> str:
        """Return the full name of the image with a tag or a digest."""
        return image_name(self.name, reference)

    def tags(self) -> list[str]:
        """Return all tags; none if the registry does not know the repository."""
        found: list[str] = []
        with self._explained(self.name):
            for page in self._pages("tags/list?n=1000"):
                found += _tags(page)
                if len(found) > _MOST_TAGS:
                    raise AnswerError(f"the registry lists more than {_MOST_TAGS} tags; remove old ones")
        return found

    def _pages(self, path: str) -> Iterator[bytes]:
        """Yield the pages of a list, each once; none if the registry does not know the list."""
        seen: set[str | Url] = set()
        page: str | Url | None = path
        while page and page not in seen:
            response = self._session.send("GET", page)
            if response.status == 404:
                response.close()
                return
            yield document(response, 200)
            seen |= {page, response.url}
            if len(seen) > _MOST_PAGES:
                raise AnswerError("its tag pagination never ends; contact the operator of the registry")
            # At the end of the list the answer has no link: RFC 8288.
            link = re.search(r'<([^>]+)>\s*;\s*rel="?next"?', response.header("Link"))
            page = joined(response.url, link[1]) if link else None

    def manifest(self, reference: str) -> Manifest | None:
        """Return the manifest of a tag or a digest, or None if there is none. The requested digest is checked."""
        with self._explained(self.named(reference)):
            response = self._session.send("GET", f"manifests/{quote(reference, safe=':')}", {"Accept": _MANIFESTS})
            if response.status == 404:
                response.close()
                return None
            manifest = Manifest(document(response, 200), response.header("Content-Type").partition(";")[0].strip())
            if is_digest(reference) and not matches(manifest.content, reference):
                raise AnswerError("the registry sent a manifest with another digest; try again, or push it again")
            return manifest

    def put_manifest(self, reference: str, manifest: Manifest) -> None:
        """Upload a manifest under a tag or under its digest."""
        with self._explained(self.named(reference)):
            headers = {"Content-Type": manifest.media_type, "Content-Length": str(len(manifest.content))}
            body = io.BytesIO(manifest.content)
            document(self._session.send("PUT", f"manifests/{quote(reference, safe=':')}", headers, body), 201)

    def has_blob(self, digest: str) -> bool:
        """Return whether the repository has the blob."""
        with self._explained(self.named(digest)):
            response = self._session.send("HEAD", f"blobs/{digest}")
            response.close()
            if response.status not in (200, 404):
                raise StatusError(response.status)
            return response.status == 200

    def upload_blob(self, content: IO[bytes], size: int, digest: str) -> None:
        """Upload a blob: `size` bytes, from the position of the seekable `content` to its end."""
        with self._explained(self.named(digest)):
            start = self._session.send("POST", "blobs/uploads/", {"Content-Length": "0"})
            document(start, 202)
            place = start.header("Location")
            if not place:
                raise AnswerError("the registry does not say where to send a blob; try again later")
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
            target = joined(start.url, place).asking({"digest": digest})
            document(self._session.send("PUT", target, headers, content), 201)

    @contextmanager
    def blob(
        self, descriptor: Descriptor, received: Callable[[int], None] = lambda count: None
    ) -> Iterator[Iterator[bytes]]:
        """Yield the pieces of a blob, to read once; the digest is checked before the last one.

        `received` is called with the number of bytes of each piece. The end of the block turns errors of reading into
        FetchError.
        """
        pieces = contextlib.closing(self._checked(descriptor, received))
        with self._explained(self.named(descriptor.digest)), pieces as blob:
            yield blob

    def _checked(self, descriptor: Descriptor, received: Callable[[int], None]) -> Generator[bytes]:
        """Yield the bytes of a blob in pieces of at most 1 MiB, the last one only if size and digest are right.

        Raise AnswerError if they differ from the descriptor, HTTPError if there is no answer, StoppedError.
        """
        algorithm, _, promised = descriptor.digest.partition(":")
        hash_, left, piece = hashlib.new(algorithm), descriptor.size, b""
        with contextlib.closing(self._pieces(descriptor)) as pieces:
            for piece in hashed(pieces, hash_):
                received(len(piece))
                left -= len(piece)
                if left:
                    yield piece
        if hash_.hexdigest() != promised:
            raise AnswerError(f"the registry sent a blob with another {algorithm} digest; push the image again")
        yield piece

    def _pieces(self, descriptor: Descriptor) -> Generator[bytes]:
        """Yield the bytes of a blob; if the connection breaks, go on over a new one."""
        offset = breaks = 0
        while offset < descriptor.size:
            response = self._open_blob(descriptor.digest, offset)
            try:
                while offset < descriptor.size:
                    piece = _next_piece(response, descriptor.size - offset)
                    offset += len(piece)
                    yield piece
                    self._proc.check()
            except HTTPError:
                self._proc.check()
                breaks += 1
                if breaks == _MOST_BREAKS:
                    raise
            finally:
                response.close()

    def _open_blob(self, digest: str, offset: int) -> Response:
        """Return an answer whose next byte is the one at the offset; a server may begin at 0 again."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        response = self._session.send("GET", f"blobs/{digest}", headers)
        if response.status not in (200, 206):
            response.close()
            raise StatusError(response.status)
        skip = offset if response.status == 200 else 0
        while skip:
            skip -= len(_next_piece(response, skip))
        return response

    def _explained(self, name: str) -> AbstractContextManager[None]:
        return explained(name, self._proc, partial(_reason, self._session), (HTTPError, AnswerError, StatusError))


def _next_piece(response: Response, left: int) -> bytes:
    piece = response.read_some(min(left, PIECE))
    if not piece:
        raise AnswerError("the registry sent a blob that is shorter than was promised; push the image again")
    return piece


def _tags(content: bytes) -> list[str]:
    try:
        return [tag for tag in json.loads(content)["tags"] or [] if isinstance(tag, str)]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise AnswerError("the registry's answer is not a list of tags; check its address") from None


def _reason(session: Session, error: Exception) -> str:
    if not isinstance(error, StatusError):
        return reason_of(error, session.host, session.shown, "")
    status, said = error.status, session.shown(error.said)
    quoted = f', "{said}"' if said else ""
    if error.host and status not in _OF_THE_ASKER:
        return _token_reason(status, quoted, session.shown(error.host))
    if status in (401, 403) and not session.credentials:
        advice = "set DOCKER_AUTH_CONFIG in the step's environment, with an entry for this registry"
        return f"the registry asks for credentials (HTTP {status}); {advice}"
    otherwise = "the registry answered with HTTP status {status}{quoted}; try again later"
    return _REASONS.get(status, otherwise).format(status=status, quoted=quoted)


def _token_reason(status: int, quoted: str, host: str) -> str:
    advice = "try again later" if status >= 500 else "check DOCKER_AUTH_CONFIG, or contact the operator of the registry"
    server = f"its token server {host}"
    return f"the registry cannot be used: {server} answered with HTTP status {status}{quoted}; {advice}"
