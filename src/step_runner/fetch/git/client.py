"""Reads the references and objects of other git repositories; this module loads dulwich."""

from __future__ import annotations

import io
import os
from contextlib import closing, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from dulwich.client import AbstractHttpGitClient
from dulwich.errors import GitProtocolError, HangupException, NotGitRepository
from dulwich.object_store import DiskObjectStore, ObjectStoreGraphWalker
from dulwich.objects import Commit, ObjectID, ShaFile, hex_to_filename
from dulwich.repo import Repo

from step_runner.fetch.git.packfile import Pack, loose_pieces
from step_runner.fetch.http import Request, StatusError, joined, open_client
from step_runner.fetch.limits import Limits
from step_runner.fetch.messages import (
    CLOSED,
    PROXY_LOGIN,
    AnswerError,
    RefusedError,
    explained,
    one_line,
    reason_of,
    struck_out,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from dulwich.object_store import BaseObjectStore
    from dulwich.pack import Pack as DulwichPack

    from step_runner.fetch.git.repository import Repository
    from step_runner.fetch.http import Client, Response
    from step_runner.fetch.url import Url
    from step_runner.proc import Proc

_GIT_CONTENT = "application/x-git-"
_NO_COMMIT = "the commit does not exist; check the revision"
_EVERYTHING = ("refs/heads/", "refs/tags/")


class RefusalError(GitProtocolError):
    """The refusal of the git server, in its own words."""


@contextmanager
def open_remote(
    repository: Repository, revision: str, proc: Proc, progress: Callable[[str], None], timeout: float
) -> Iterator[Remote]:
    """Connect to `repository`. Yield the connection, for one thread and while the block runs.

    Raise FetchError with one sentence that names the revision, and StoppedError after a cancel.
    """
    with explained(f'cannot fetch "{revision}" of {repository}', proc, partial(_reason, repository)):
        if repository.url.scheme == "file":
            with closing(Repo(repository.local_path)) as repo:
                yield _LocalRemote(repo, proc)
            return
        with open_client(proc, timeout) as client:
            tell = lambda text: progress(f"fetching {repository}: {text}")  # noqa: E731
            with closing(_HttpRemote(repository, client, proc, tell)) as remote:
                yield remote


class Stored:
    """The objects in a store of dulwich, which reads each one whole. Files can be large and are read in pieces here."""

    def __init__(self, store: BaseObjectStore, proc: Proc) -> None:
        self._store = store
        self._proc = proc

    def __contains__(self, hash_: bytes) -> bool:
        return ObjectID(hash_) in self._store

    def __getitem__(self, hash_: bytes) -> ShaFile:
        return self._store[ObjectID(hash_)]

    def pieces(self, hash_: bytes) -> Iterator[bytes]:
        for store in _with_alternates(self._store):
            loose = hex_to_filename(os.fspath(store.path), ObjectID(hash_))
            if os.path.exists(loose):
                return loose_pieces(loose)
            for pack in store.packs:
                if ObjectID(hash_) in pack:
                    return self._packed(pack, hash_)
        raise KeyError(hash_)

    def _packed(self, pack: DulwichPack, hash_: bytes) -> Iterator[bytes]:
        find: Any = pack.index.object_offset
        with open(pack.data.path, "rb") as file:
            yield from Pack(file, len(hash_), self._proc, Limits(), find).pieces(hash_)

    def commits(self, prefix: str) -> list[str]:
        found = self._store.iter_prefix(prefix.encode())
        return sorted(hash_.decode() for hash_ in found if isinstance(self._store[hash_], Commit))


def _with_alternates(store: BaseObjectStore) -> Iterator[DiskObjectStore]:
    if isinstance(store, DiskObjectStore):
        yield store
        for other in store.alternates:
            yield from _with_alternates(other)


class _LocalRemote(Stored):
    """A repository on this machine, read in place."""

    def __init__(self, repo: Repo, proc: Proc) -> None:
        super().__init__(repo.object_store, proc)
        self._repo = repo

    def references(self, prefixes: Sequence[str]) -> dict[str, str]:
        found = {}
        for name, hash_ in self._repo.get_refs().items():
            text = name.decode("utf-8", "replace")
            if text.startswith(tuple(prefixes)):
                found[text] = hash_.decode()
                found[f"{text}^{{}}"] = self._repo.get_peeled(name).decode()
        return found

    def history(self, _scratch: Path) -> Objects:
        return self

    def objects(self, commit: str, _scratch: Path) -> Objects:
        if commit.encode() not in self:
            raise RefusedError(_NO_COMMIT)
        return self


class _HttpRemote(AbstractHttpGitClient):
    """A repository on a git server with HTTP. dulwich speaks git; this class decides what each host receives."""

    def __init__(self, repository: Repository, client: Client, proc: Proc, progress: Callable[[str], None]) -> None:
        super().__init__(base_url=str(repository), thin_packs=False)
        self._url = repository.url
        self._authorization = f"Basic {repository.basic}" if repository.basic else None
        self._client = client
        self._proc = proc
        self._progress = progress
        self._files: list[IO[bytes]] = []

    def close(self) -> None:
        for file in self._files:
            file.close()

    def references(self, prefixes: Sequence[str]) -> dict[str, str]:
        """Return the hashes of all references with a full name that begins with one of `prefixes`.

        The name of an annotated tag with `^{}` at its end has the hash of the object to which the tag points.
        """
        refs = self.get_refs(b"", ref_prefix=[prefix.encode() for prefix in prefixes]).refs
        return {name.decode("utf-8", "replace"): hash_.decode() for name, hash_ in refs.items() if hash_}

    def history(self, scratch: Path) -> Objects:
        """Return at least every commit of every branch and tag; `scratch` is a directory for them."""
        # A server that supports filters leaves the files out and sends a few hundred bytes for each commit.
        return self._fetch_all(scratch / "history", filter_spec=b"tree:0")

    def objects(self, commit: str, scratch: Path) -> Objects:
        """Return at least the commit with this full hash and its files. Raise RefusedError if it does not exist."""
        try:
            store = self._fetch([commit.encode()], scratch / "commit", depth=1)
        except HangupException:
            raise
        except GitProtocolError as error:
            if self.protocol_version == 2 and "not our ref" in str(error):
                raise RefusedError(_NO_COMMIT) from None
            # The server sends no single commits, or no shallow ones.
            store = self._fetch_all(scratch / "everything")
        if commit.encode() not in store:
            raise RefusedError(_NO_COMMIT)
        return store

    def _fetch_all(self, path: Path, **options: Any) -> Objects:
        names = self.references(_EVERYTHING)
        wants = {hash_.encode() for name, hash_ in names.items() if not name.endswith("^{}")}
        return self._fetch(sorted(wants), path, **options)

    def _fetch(self, wants: Sequence[bytes], path: Path, **options: Any) -> Objects:
        """Return the objects with these hashes and what they need; the options are those of `fetch_pack`."""
        file = path.open("w+b")
        self._files.append(file)
        self.fetch_pack(
            b"",
            lambda refs, depth=None: [ObjectID(want) for want in wants],
            ObjectStoreGraphWalker([], lambda _: []),
            partial(self._store, file, Limits()),
            # The references are known already; asking for this single one makes the shortest answer.
            ref_prefix=[b"refs/heads/HEAD"],
            **options,
        )
        return Pack(file, len(wants[0]) if wants else 40, self._proc, Limits())

    def _store(self, file: IO[bytes], limits: Limits, data: bytes) -> int:
        """Write the next bytes of a pack, and report the progress."""
        self._proc.check()
        limits.take_bytes(len(data))
        file.write(data)
        size = file.tell()
        # The four bytes from offset 8 on are the number of objects in a pack: gitformat-pack(5).
        file.seek(8)
        self._progress(f"{int.from_bytes(file.read(4), 'big')} objects, {size / 1e6:.1f} MB")
        return file.seek(size)

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,
    ) -> tuple[Any, Callable[[int], bytes]]:
        there = joined(self._url, url)
        authorization = self._authorization if there.origin == self._url.origin else None
        # Some servers answer with a web page if the user agent does not begin so.
        sent = {**(headers or {}), "User-Agent": "git/step-runner", "Pragma": "no-cache"}
        body = None if data is None else io.BytesIO(data if isinstance(data, bytes) else b"".join(data))
        response = self._client.follow(Request("POST" if body else "GET", there, sent, authorization, body))
        return _checked(response, there), partial(_read, response)

    @staticmethod
    def _warn_filter_objects() -> None:
        """Print no warning: a server that cannot leave the files out only sends more than is needed."""


Objects: TypeAlias = Pack | Stored
"""The objects of a repository, by their hashes. An unknown hash raises KeyError."""

Remote: TypeAlias = _LocalRemote | _HttpRemote
"""A repository that can be read."""


def _checked(response: Response, asked: Url) -> SimpleNamespace:
    """Return an HTTP answer in the form that dulwich expects. Raise StatusError, AnswerError."""
    content_type = response.header("Content-Type")
    if response.status == 200 and content_type.startswith(_GIT_CONTENT):
        redirected = "" if response.url == asked else str(response.url)
        return SimpleNamespace(close=response.close, content_type=content_type, redirect_location=redirected)
    response.close()
    if response.status != 200:
        raise StatusError(response.status)
    raise AnswerError("the server answers, but not as a git server; check the URL")


def _read(response: Response, size: int) -> bytes:
    received = response.read_some(size)
    # A connection that is closed too early raises its error only at the next read.
    while len(received) < size and (more := response.read_some(size - len(received))):
        received += more
    if received.startswith(b"ERR "):  # gitprotocol-pack(5): error-line
        raise RefusalError(received[4:].decode("utf-8", "replace"))
    return received


def _reason(repository: Repository, error: Exception) -> str:
    match error:
        case StatusError(status=status):
            return _status_reason(status, repository)
        case RefusalError():
            return f'the git server said "{_shown(repository, str(error))}"; check the URL and the revision'
        case NotGitRepository():
            return "the directory is not a git repository; check the path"
        case HangupException():
            return CLOSED
        case _:
            shown = _shown(repository, str(error)) or type(error).__name__
            otherwise = f"the answer is not understood ({shown}); check that this is a git repository"
            return reason_of(error, repository.url.netloc, partial(_shown, repository), otherwise)


def _status_reason(status: int, repository: Repository) -> str:
    match status:
        case 401 if repository.url.user is None:
            return "the server asks for credentials; write user:token@ in front of the host"
        case 401 | 403:
            return f"the server does not accept the credentials (HTTP {status}); check the token and its rights"
        case 404:
            return "the repository does not exist, or needs credentials; check the URL"
        case 407:
            return PROXY_LOGIN
        case _:
            return f"the server answered with HTTP status {status}; try again later"


def _shown(repository: Repository, text: str) -> str:
    return one_line(struck_out(text, repository.secrets))
