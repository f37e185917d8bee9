"""Images in the making: their blobs, in files with the digests as names. The same files make the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeAlias

from step_runner.builtin.files import members, unreadable
from step_runner.fetch.oci.manifest import CONFIG, INDEX, LAYER, MANIFEST, digest_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from step_runner.builtin.files import Member, Placed

Json: TypeAlias = dict[str, Any]

CREATED = "org.opencontainers.image.created"


class Writable(Protocol):
    """Something that takes bytes."""

    def write(self, content: bytes, /) -> int:
        """Take all of these bytes."""


@dataclass(frozen=True)
class Layer:
    """A layer: its descriptor, and the digest of its archive before it was compressed."""

    descriptor: Json
    plain_digest: str


@dataclass(frozen=True)
class Layout:
    """The blobs of images, made in `directory` of files below `root`; `created` is a time as RFC 3339 writes it."""

    directory: Path
    root: Path
    created: str

    def layer(self, placed: Placed) -> Layer:
        """Make the layer of one source. Raises InputError where it cannot be read."""
        with tempfile.NamedTemporaryFile(dir=self.directory, delete=False) as file:
            compressed = _Digest(file)
            with zstd.ZstdFile(compressed, "w") as stream:  # type: ignore[call-overload]
                plain = _Digest(stream)
                with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
                    for member in members(placed, self.root):
                        _add(member, archive)
        os.rename(file.name, self._path(compressed.digest))
        return Layer(_descriptor(LAYER, compressed.digest, compressed.size), plain.digest)

    def image(self, platform: Mapping[str, object], layers: Sequence[Layer]) -> Json:
        """Make the manifest of an image and its config; returns its descriptor, which names the platform."""
        config = {**platform, "rootfs": {"type": "layers", "diff_ids": [layer.plain_digest for layer in layers]}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._add(CONFIG, config),
            "layers": [layer.descriptor for layer in layers],
            "annotations": {CREATED: self.created},
        }
        return {**self._add(MANIFEST, manifest), "platform": platform}

    def index(self, images: Sequence[Json]) -> Json:
        """Make the index of these images; returns its descriptor."""
        annotations = {CREATED: self.created}
        return self._add(
            INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": images, "annotations": annotations}
        )

    def digests(self) -> list[str]:
        """The digests of all that was made."""
        return sorted(f"sha256:{path.name}" for path in self.directory.iterdir())

    @contextmanager
    def open(self, digest: str) -> Iterator[IO[bytes]]:
        """The bytes of what has a digest."""
        with self._path(digest).open("rb") as file:
            yield file

    def _add(self, media_type: str, document: Json) -> Json:
        content = as_json(document)
        digest = digest_of(content)
        self._path(digest).write_bytes(content)
        return _descriptor(media_type, digest, len(content))

    def _path(self, digest: str) -> Path:
        return self.directory / digest.removeprefix("sha256:")


def as_json(document: Json) -> bytes:
    """A document as it is stored."""
    return json.dumps(document, separators=(",", ":")).encode()


def _descriptor(media_type: str, digest: str, size: int) -> Json:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _add(member: Member, archive: tarfile.TarFile) -> None:
    """Add a file or a directory, as anybody's and of no time: where and when it was checked out makes no difference."""
    header = tarfile.TarInfo(member.place)
    header.mode = member.mode
    if member.source is None:
        header.type = tarfile.DIRTYPE
        archive.addfile(header)
        return
    try:
        with member.source.open("rb") as content:
            header.size = os.fstat(content.fileno()).st_size
            archive.addfile(header, content)
    except OSError as error:
        raise unreadable(member.source, error) from None


class _Digest:
    """Passes bytes on, and knows how many they were and their digest."""

    def __init__(self, target: Writable) -> None:
        self.size = 0
        self._target = target
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, content: bytes) -> int:
        self._hash.update(content)
        self.size += len(content)
        self._target.write(content)
        return len(content)
