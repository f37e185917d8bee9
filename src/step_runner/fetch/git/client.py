"""Git repositories elsewhere: their references, and the objects of a commit; this module loads dulwich."""

from __future__ import annotations

import io
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol

from dulwich.client import AbstractHttpGitClient
from dulwich.errors import GitProtocolError, HangupException
from dulwich.object_store import ObjectStoreGraphWalker
from dulwich.objects import Commit, ObjectID, ShaFile
from dulwich.repo import Repo

from step_runner.fetch.git.packfile import Pack
from step_runner.fetch.http import Request, joined, open_transport
from step_runner.fetch.limits import Limits
from step_runner.fetch.url import Url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from dulwich.object_store import BaseObjectStore

    from step_runner.fetch.cancellation import Cancellation
    from step_runner.fetch.git.checkout import Objects
    from step_runner.fetch.git.repository import Repository
    from step_runner.fetch.http import Response, Transport

_GIT_CONTENT = "application/x-git-"
_EVERYTHING = ("refs/heads/", "refs/tags/")


class CommitMissingError(Exception):
    """The repository has no such commit."""


class StatusError(Exception):
    """The server answered with this HTTP status instead of 200."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class NotGitServerError(Exception):
    """The server answered with something that is not the smart git protocol."""


class RefusalError(GitProtocolError):
    """The git server itself said no, in these words."""


class Remote(Protocol):
    """A repository that can be read."""

    def references(self, prefixes: Sequence[str]) -> dict[str, str]:
        """The references whose full name begins with one of `prefixes`, and their hashes; `^{}` follows the name of
        an annotated tag for the hash of what it is put on."""

    def history(self, scratch: Path) -> Objects:
        """At least every commit of every branch and tag; `scratch` is a directory to put them into."""

    def objects(self, commit: str, scratch: Path) -> Objects:
        """At least the commit with this full hash and its files. CommitMissingError: there is none."""


@contextmanager
def open_remote(
    repository: Repository, cancellation: Cancellation, progress: Callable[[str], None], timeout: float
) -> Iterator[Remote]:
    """Connect to `repository`; the result is used by one thread, inside of the block."""
    if repository.scheme == "file":
        with closing(Repo(repository.local_path)) as repo:
            yield _LocalRemote(repo)
        return
    with open_transport(cancellation, timeout) as transport:
        client = _Client(repository, transport)
        with closing(
            _HttpRemote(client, cancellation, lambda text: progress(f"fetching {repository}: {text}"))
        ) as remote:
            yield remote


class _LocalRemote:
    """A repository on this machine, read in place."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo

    def references(self, prefixes: Sequence[str]) -> dict[str, str]:
        found = {}
        for name, hash_ in self._repo.get_refs().items():
            text = name.decode("utf-8", "replace")
            if text.startswith(tuple(prefixes)):
                found[text] = hash_.decode()
                found[f"{text}^{{}}"] = self._repo.get_peeled(name).decode()
        return found

    def history(self, scratch: Path) -> Objects:
        return Stored(self._repo.object_store)

    def objects(self, commit: str, scratch: Path) -> Objects:
        if ObjectID(commit.encode()) not in self._repo.object_store:
            raise CommitMissingError
        return Stored(self._repo.object_store)


class Stored:
    """The objects in a store of dulwich, which reads each whole."""

    def __init__(self, store: BaseObjectStore) -> None:
        self._store = store

    def __contains__(self, hash_: bytes) -> bool:
        return ObjectID(hash_) in self._store

    def __getitem__(self, hash_: bytes) -> ShaFile:
        return self._store[ObjectID(hash_)]

    def pieces(self, hash_: bytes) -> Iterable[bytes]:
        return self[hash_].as_raw_chunks()

    def commits(self, prefix: str) -> list[str]:
        found = self._store.iter_prefix(prefix.encode())
        return sorted(hash_.decode() for hash_ in found if isinstance(self._store[hash_], Commit))


class _HttpRemote:
    """A repository behind a git server that speaks HTTP."""

    def __init__(self, client: _Client, cancellation: Cancellation, progress: Callable[[str], None]) -> None:
        self._client = client
        self._cancellation = cancellation
        self._progress = progress
        self._files: list[IO[bytes]] = []

    def close(self) -> None:
        for file in self._files:
            file.close()

    def references(self, prefixes: Sequence[str]) -> dict[str, str]:
        wanted = [prefix.encode() for prefix in prefixes]
        refs = self._client.get_refs(b"", ref_prefix=wanted).refs
        return {name.decode("utf-8", "replace"): hash_.decode() for name, hash_ in refs.items() if hash_}

    def history(self, scratch: Path) -> Objects:
        # A server that can leaves the files out: a few hundred bytes a commit.
        return self._fetch_all(scratch / "history", filter_spec=b"tree:0")

    def objects(self, commit: str, scratch: Path) -> Objects:
        try:
            store = self._fetch([commit.encode()], scratch / "commit", depth=1)
        except HangupException:
            raise
        except GitProtocolError as error:
            if self._client.protocol_version == 2 and "not our ref" in str(error):
                raise CommitMissingError from error
            # It gives no single commit, or no shallow ones.
            store = self._fetch_all(scratch / "everything")
        if commit.encode() not in store:
            raise CommitMissingError
        return store

    def _fetch_all(self, path: Path, filter_spec: bytes | None = None) -> Objects:
        names = self.references(_EVERYTHING)
        wants = {hash_.encode() for name, hash_ in names.items() if not name.endswith("^{}")}
        return self._fetch(sorted(wants), path, filter_spec=filter_spec)

    def _fetch(
        self, wants: Sequence[bytes], path: Path, depth: int | None = None, filter_spec: bytes | None = None
    ) -> Objects:
        file = path.open("w+b")
        self._files.append(file)
        self._client.fetch_pack(
            b"",
            lambda refs, depth=None: [ObjectID(want) for want in wants],
            ObjectStoreGraphWalker([], lambda _: []),
            _Incoming(file.write, self._cancellation, self._progress).write,
            depth=depth,
            # The references are not needed again; this one is the least that a server can be asked for.
            ref_prefix=[b"refs/heads/HEAD"],
            filter_spec=filter_spec,
        )
        return Pack(file, len(wants[0]) if wants else 40, self._cancellation, Limits())


class _Incoming:
    """Passes a pack on to a file and tells how far it is."""

    def __init__(
        self, write: Callable[[bytes], int], cancellation: Cancellation, progress: Callable[[str], None]
    ) -> None:
        self._write = write
        self._cancellation = cancellation
        self._progress = progress
        self._limits = Limits()
        self._head = b""
        self._size = 0

    def write(self, data: bytes) -> int:
        self._cancellation.check()
        self._limits.take_bytes(len(data))
        self._head = (self._head + data)[:12] if len(self._head) < 12 else self._head
        self._size += len(data)
        # Bytes 8 to 12 of a pack are the number of its objects: gitformat-pack(5).
        count = int.from_bytes(self._head[8:12], "big")
        self._progress(f"{count} objects, {self._size / 1e6:.1f} MB")
        return self._write(data)


@dataclass(frozen=True)
class _Answer:
    """An answer as dulwich wants it."""

    response: Response
    content_type: str
    redirect_location: str

    def close(self) -> None:
        self.response.close()


class _Client(AbstractHttpGitClient):
    """Dulwich's client of the git protocol; what goes over the line, and to whom, is decided here."""

    def __init__(self, repository: Repository, transport: Transport) -> None:
        super().__init__(base_url=str(repository), thin_packs=False)
        self._url = Url.parse(str(repository))
        self._authorization = f"Basic {repository.basic}" if repository.basic else None
        self._transport = transport

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,
    ) -> tuple[Any, Callable[[int], bytes]]:
        there = joined(self._url, url)
        authorization = self._authorization if there.origin == self._url.origin else None
        # Some servers have their web page for what does not begin so.
        sent = {**(headers or {}), "User-Agent": "git/step-runner", "Pragma": "no-cache"}
        body = None if data is None else io.BytesIO(data if isinstance(data, bytes) else b"".join(data))
        response = self._transport.follow(Request("POST" if body else "GET", there, sent, authorization, body))
        return self._checked(response, there), lambda size: _read(response, size)

    def _checked(self, response: Response, asked: Url) -> _Answer:
        content_type = response.header("Content-Type")
        if response.status != 200 or not content_type.startswith(_GIT_CONTENT):
            response.close()
            raise StatusError(response.status) if response.status != 200 else NotGitServerError
        return _Answer(response, content_type, "" if response.url == asked else str(response.url))

    @staticmethod
    def _warn_filter_objects() -> None:
        """Say nothing when a server cannot leave the files out: it sends more than is needed, and that is all."""


def _read(response: Response, size: int) -> bytes:
    received = response.read_some(size)
    while len(received) < size and (more := response.read_some(size - len(received))):
        received += more
    if received.startswith(b"ERR "):  # gitprotocol-pack(5): error-line
        raise RefusalError(received[4:].decode("utf-8", "replace"))
    return received
