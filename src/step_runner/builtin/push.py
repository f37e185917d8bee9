"""Puts an image, with all that belongs to it, into a repository of a registry."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol

from step_runner.errors import InputError
from step_runner.fetch.oci.manifest import INDEX, MANIFEST, Descriptor, is_digest, matches
from step_runner.fetch.oci.registry import ImageRepository, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from step_runner.builtin.layout import Json

PIECE = 1 << 20
"""Bytes that are copied at once."""

LARGEST_MANIFEST = 4 << 20
"""Bytes of a manifest: as many as registries take."""


class Source(Protocol):
    """Where images come from."""

    def manifest(self, digest: str) -> bytes:
        """The manifest with a digest. Raises StepRunnerError where there is none."""

    def blob(self, descriptor: Descriptor) -> AbstractContextManager[IO[bytes]]:
        """A blob as a seekable file, at its start. Raises StepRunnerError where there is none."""


class Opens(Protocol):
    """What keeps manifests and blobs as files."""

    def open(self, digest: str) -> AbstractContextManager[IO[bytes]]:
        """The file of what has a digest."""


class StoredImages(NamedTuple):
    """Images on this machine."""

    files: Opens

    def manifest(self, digest: str) -> bytes:
        with self.files.open(digest) as file:
            return file.read(LARGEST_MANIFEST)

    def blob(self, descriptor: Descriptor) -> AbstractContextManager[IO[bytes]]:
        return self.files.open(descriptor.digest)


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

    Raises InputError where the source does not hold what it should, FetchError where the registry does not take it.
    """
    top = _manifest(source, digest)
    _push_parts(source, top, target)
    for tag in tags:
        target.put_manifest(tag, top)


def _push_parts(source: Source, manifest: Manifest, target: ImageRepository) -> None:
    images, blobs = _parts(manifest)
    for image in images:
        inner = _manifest(source, image.digest)
        _push_parts(source, inner, target)
        target.put_manifest(inner.digest, inner)
    for blob in dict.fromkeys(blobs):
        if not target.has_blob(blob.digest):
            with source.blob(blob) as content:
                target.upload_blob(content, blob.size, blob.digest)


def _manifest(source: Source, digest: str) -> Manifest:
    content = source.manifest(digest)
    if not matches(content, digest):
        raise InputError(f"the manifest {digest} is damaged; build the image again")
    document = _document(content)
    return Manifest(content, document.get("mediaType") or (INDEX if "manifests" in document else MANIFEST))


def _parts(manifest: Manifest) -> tuple[list[Descriptor], list[Descriptor]]:
    """The images and the blobs that a manifest names."""
    document = _document(manifest.content)
    try:
        if "manifests" in document:
            return list(map(_descriptor, document["manifests"])), []
        return [], list(map(_descriptor, [*document["layers"], document["config"]]))
    except (LookupError, TypeError, ValueError):
        raise _not_understood(manifest.digest) from None


def _descriptor(entry: Json) -> Descriptor:
    digest, size = str(entry["digest"]), int(entry["size"])
    if not is_digest(digest):
        raise ValueError(digest)
    return Descriptor(digest, size)


def _document(content: bytes) -> Json:
    try:
        document: Json = json.loads(content)
    except (ValueError, RecursionError):
        raise _not_understood("of the image") from None
    if not isinstance(document, dict):
        raise _not_understood("of the image")
    return document


def _not_understood(name: str) -> InputError:
    return InputError(f"the manifest {name} is not understood; build the image again")
