"""Fetches functions from git repositories: turns a revision into a directory with the files of its commit.

A tag and a hash always mean the same commit, so the cache answers them after the first fetch. A branch is looked up at
each use, which fails without a network. The cache holds

    git-commit, repository, full hash     the files of the commit, without history
    git-revision, repository, revision    a note: the hash of the commit of a tag or a short hash
"""

from __future__ import annotations

import re
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from step_runner.errors import FetchError
from step_runner.fetch.git.repository import Repository
from step_runner.fetch.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from step_runner.fetch.cache import Cache, Key
    from step_runner.fetch.git.checkout import Checkout
    from step_runner.fetch.git.client import Remote
    from step_runner.model import Git
    from step_runner.proc import Proc

TIMEOUT = 30.0
"""Timeout in seconds of each connect, and of each silence of a server."""

_FULL_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT_HASH = re.compile(r"[0-9a-f]{8,63}")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0~^:?*\[\\]|\.\.|^$|^/|/$")  # git-check-ref-format(1)
_DEEPEST = 10


def fetch_git(
    reference: Git,
    cache: Cache,
    proc: Proc,
    *,
    progress: Callable[[str], None] = lambda text: None,
    timeout: float = TIMEOUT,
) -> str:
    """Return the directory with all files of the commit that `reference` means; ignore its `directory`.

    `progress` is called often with one line, in this thread. `timeout`, in seconds, limits each connect and each
    silence. Raise FetchError with one sentence (repository, revision, advice), and StoppedError after a cancel.
    """
    proc.check()
    repository = Repository.parse(reference.url)
    with ExitStack() as closing:
        return str(_Fetch(repository, reference.revision, cache, proc, progress, timeout, closing).run())


@dataclass(frozen=True)
class _Fetch:
    repository: Repository
    revision: str
    cache: Cache
    proc: Proc
    progress: Callable[[str], None]
    timeout: float
    closing: ExitStack
    """Closes the remote at the end, and turns its errors into FetchError."""

    @cached_property
    def remote(self) -> Remote:
        # Loading dulwich takes a third of a second; answers of the cache do not need it.
        from step_runner.fetch.git.client import open_remote

        remote = open_remote(self.repository, self.revision, self.proc, self.progress, self.timeout)
        return self.closing.enter_context(remote)

    def run(self) -> Path:
        commit = self._remembered()
        if commit:
            return self._get(commit)
        if _FORBIDDEN.search(self.revision):
            raise self._unknown("it is not a valid name of a tag or branch")
        return self._get_by_name()

    def _remembered(self) -> str | None:
        """Return the commit of a full hash, or of a tag or short hash that the cache knows; else None."""
        if _FULL_HASH.fullmatch(self.revision):
            return self.revision
        known = self.cache.note(self._revision_key())
        return known if _FULL_HASH.fullmatch(known) else None

    def _get(self, commit: str) -> Path:
        key = ("git-commit", str(self.repository), commit)
        return self.cache.get(key, partial(self._check_out, commit), self.proc)

    def _get_by_name(self) -> Path:
        """Return the files of a tag, else of a branch, else of the commit with a short hash."""
        self.progress(f"fetching {self.repository}: looking up {self.revision}")
        names = [f"refs/tags/{self.revision}", f"refs/heads/{self.revision}"]
        references = self.remote.references(names)
        tag, branch = (references.get(f"{name}^{{}}") or references.get(name) for name in names)
        if branch and not tag:
            return self._get(branch)
        commit = tag or self._complete()
        path = self._get(commit)
        self.cache.keep_note(self._revision_key(), commit)
        return path

    def _complete(self) -> str:
        """Return the only commit with a hash that begins with the revision."""
        if not _SHORT_HASH.fullmatch(self.revision):
            raise self._unknown("no tag or branch has this name, and a commit needs 8 or more digits of its hash")
        with self.cache.scratch(self._revision_key(), self.proc) as scratch:
            found = self.remote.history(scratch).commits(self.revision)
        if not found:
            raise self._unknown("no tag, branch or commit has this name")
        if len(found) > 1:
            raise self._unknown(f"{len(found)} commits begin with it, write more digits")
        return found[0]

    def _check_out(self, commit: str, directory: Path, scratch: Path) -> None:
        from step_runner.fetch.git.checkout import Checkout

        checkout = Checkout(directory, self.proc, Limits())
        self._write(checkout, commit, scratch, PurePosixPath(), depth=0)
        checkout.finish()

    def _write(self, checkout: Checkout, commit: str, scratch: Path, below: PurePosixPath, depth: int) -> None:
        """Write the files of `commit` below that path of the checkout, and those of each submodule below its path."""
        from step_runner.fetch.git.checkout import TreeError, submodule_urls

        if depth > _DEEPEST:
            raise TreeError(f"its submodules lie in one another more than {_DEEPEST} deep")
        store = self.remote.objects(commit, scratch)
        urls = submodule_urls(store, commit, below)
        for path, submodule_commit in checkout.write(store, commit, below).items():
            submodule = self.repository.submodule(urls.get(path, ""))
            if submodule:
                with ExitStack() as closing:
                    fetch = replace(self, repository=submodule, revision=submodule_commit, closing=closing)
                    own_scratch = Path(tempfile.mkdtemp(dir=scratch))
                    fetch._write(checkout, submodule_commit, own_scratch, path, depth + 1)
            else:
                self.progress(f"fetching {self.repository}: no https or http URL for submodule {path}")

    def _revision_key(self) -> Key:
        return ("git-revision", str(self.repository), self.revision)

    def _unknown(self, reason: str) -> FetchError:
        shown = "".join(letter if letter.isprintable() else "?" for letter in self.revision)
        return FetchError(f'cannot find "{shown}" in {self.repository}: {reason}; check the revision')
