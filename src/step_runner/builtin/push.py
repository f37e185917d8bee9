"""Stores an image, with all its parts, in a repository of a registry."""

from __future__ import annotations

import os
import re
import tempfile
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple

from step_runner.errors import InputError
from step_runner.fetch.messages import RefusedError
from step_runner.fetch.oci.manifest import Descriptor, matches, parse_parts
from step_runner.fetch.oci.names import HOST, checked_repository

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from step_runner.fetch.oci.registry import ImageRepository, Manifest

LARGEST_DOCUMENT = 4 << 20
"""The most bytes of a manifest that registries accept."""


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
        """Open a client of the repository, with the credentials of this process's environment."""
        from step_runner.fetch.oci.credentials import find_credentials
        from step_runner.fetch.oci.registry import open_repository
        from step_runner.proc import Proc

        # A signal ends this process; nothing else cancels it.
        proc = Proc(0)
        credentials = find_credentials(os.environ, self.registry, self.path, proc)
        with open_repository(self.registry, self.path, credentials, proc) as repository:
            yield repository


class Source(ABC):
    """A source of images; its methods raise StepRunnerError for a part that it lacks."""

    @abstractmethod
    def open(self, descriptor: Descriptor) -> AbstractContextManager[IO[bytes]]:
        """Open a blob or manifest as a seekable file, at its start."""

    def manifest(self, reference: str) -> bytes:
        """Return the manifest with a digest."""
        with self.open(Descriptor(reference, LARGEST_DOCUMENT)) as file:
            return file.read(LARGEST_DOCUMENT)


class RemoteImages(Source):
    """The images of a repository; a blob is in a temporary file during its block."""

    def __init__(self, repository: ImageRepository) -> None:
        self._repository = repository

    def manifest(self, reference: str) -> bytes:
        """Return the manifest with a digest or a tag."""
        found = self._repository.manifest(reference)
        if found is None:
            raise InputError(f"{self._repository.named(reference)}: the image does not exist; check its name and tag")
        return found.content

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[IO[bytes]]:
        """Open a blob at its start."""
        with tempfile.TemporaryFile() as file:
            with self._repository.blob(descriptor) as blob:
                file.writelines(blob)
            file.seek(0)
            yield file


def push(source: Source, digest: str, target: ImageRepository, tags: Iterable[str]) -> None:
    """Store the image or index with a digest under tags, after all its parts. Skip blobs that the registry has.

    Raise InputError if the source lacks a part or holds a damaged one, FetchError if the registry refuses one.
    """
    top = _push_parts(source, digest, target)
    for tag in tags:
        target.put_manifest(tag, top)


def _push_parts(source: Source, digest: str, target: ImageRepository) -> Manifest:
    """Store all parts of a manifest. Return the manifest."""
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
            with source.open(blob) as file:
                target.upload_blob(file, blob.size, blob.digest)
    return Manifest(content, parts.media_type)
