"""Puts an image, with all that belongs to it, into a repository of a registry."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol

from step_runner.errors import InputError
from step_runner.fetch.messages import RefusedError
from step_runner.fetch.oci.manifest import Descriptor, matches, parse_parts
from step_runner.fetch.oci.names import HOST, checked_repository

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from step_runner.fetch.oci.registry import ImageRepository, Manifest

PIECE = 1 << 20
"""Bytes that are copied at once."""

LARGEST_DOCUMENT = 4 << 20
"""Bytes of a manifest: as many as registries take."""


class RepositoryName(NamedTuple):
    """A registry's host and the path of a repository in it."""

    registry: str
    path: str

    @classmethod
    def parse(cls, text: str) -> RepositoryName:
        """Return the repository `registry/path`. Raise InputError for anything else."""
        registry, _, path = re.sub("/+", "/", text.strip()).strip("/").partition("/")
        if not HOST.fullmatch(registry):
            raise InputError(
                f'"{text[:80]}" does not name a registry; write HOST/PATH, such as registry.example.com/name'
            )
        return cls(registry, checked_repository(path))

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"

    @contextmanager
    def open(self) -> Iterator[ImageRepository]:
        """Open the client of it, with the credentials of this process's environment."""
        from step_runner.fetch.oci.credentials import find_credentials
        from step_runner.fetch.oci.registry import open_repository
        from step_runner.proc import Proc

        # This process is ended by a signal; nothing else cancels it.
        proc = Proc(0)
        credentials = find_credentials(os.environ, self.registry, self.path, proc)
        with open_repository(self.registry, self.path, credentials, proc) as repository:
            yield repository


class Source(Protocol):
    """Where images come from."""

    def manifest(self, digest: str) -> bytes:
        """Return the manifest with a digest. Raise StepRunnerError where there is none."""

    def blob(self, descriptor: Descriptor) -> AbstractContextManager[IO[bytes]]:
        """Open a blob as a seekable file, at its start. Raise StepRunnerError where there is none."""


class Stored:
    """Images on this machine, with their manifests and blobs as files."""

    def open(self, digest: str) -> AbstractContextManager[IO[bytes]]:
        """Open the file of what has a digest."""
        raise NotImplementedError

    def manifest(self, digest: str) -> bytes:
        """Return the manifest with a digest."""
        with self.open(digest) as file:
            return file.read(LARGEST_DOCUMENT)

    def blob(self, descriptor: Descriptor) -> AbstractContextManager[IO[bytes]]:
        """Open a blob."""
        return self.open(descriptor.digest)


class RemoteImages(NamedTuple):
    """The images of a repository; a blob is in a temporary file as long as it is needed."""

    repository: ImageRepository

    def manifest(self, digest: str) -> bytes:
        found = self.repository.manifest(digest)
        if found is None:
            raise InputError(f"{self.repository.named(digest)}: there is no such image; check its name and tag")
        return found.content

    @contextmanager
    def blob(self, descriptor: Descriptor) -> Iterator[IO[bytes]]:
        with tempfile.TemporaryFile() as file:
            with self.repository.blob(descriptor) as blob:
                shutil.copyfileobj(blob, file, PIECE)
                blob.check()
            file.seek(0)
            yield file


def push(source: Source, digest: str, target: ImageRepository, tags: Iterable[str]) -> None:
    """Store the image or index with a digest under tags, after all that it names; blobs that are there are not sent.

    Raise InputError where the source does not hold what it should, FetchError where the registry does not take it.
    """
    top = _push_parts(source, digest, target)
    for tag in tags:
        target.put_manifest(tag, top)


def _push_parts(source: Source, digest: str, target: ImageRepository) -> Manifest:
    """Store all that a manifest names, and return it."""
    from step_runner.fetch.oci.registry import Manifest

    content = source.manifest(digest)
    if not matches(content, digest):
        raise InputError(f"the manifest {digest} is damaged; build the image again")
    try:
        parts = parse_parts(content)
    except RefusedError:
        raise InputError(f"the manifest {digest} is not understood; build the image again") from None
    for image in parts.images:
        target.put_manifest(image.digest, _push_parts(source, image.digest, target))
    for blob in dict.fromkeys(parts.blobs):
        if not target.has_blob(blob.digest):
            with source.blob(blob) as file:
                target.upload_blob(file, blob.size, blob.digest)
    return Manifest(content, parts.media_type)
