"""Images on this machine: their blobs in files with the digests as names, and all blobs in one archive.

The file is a tar archive of an image layout, image-layout.md of the OCI image specification 1.1. The same files make
the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from step_runner.builtin.push import LARGEST_DOCUMENT, Source
from step_runner.errors import InputError
from step_runner.fetch.oci.manifest import CONFIG, INDEX, LAYER, MANIFEST, Descriptor, digest_of, is_digest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from _typeshed import SupportsWrite

Json: TypeAlias = dict[str, Any]

CREATED = "org.opencontainers.image.created"
REFERENCE = "org.opencontainers.image.ref.name"
LAYOUT = {"imageLayoutVersion": "1.0.0"}


@dataclass(frozen=True)
class Layer:
    """A layer: its descriptor, and the digest of its archive before it was compressed."""

    descriptor: Json
    plain_digest: str


@dataclass(frozen=True)
class Layout(Source):
    """The blobs of images, in files of `directory`; `created` is a time as RFC 3339 writes it."""

    directory: Path
    created: str

    def layer(self, place: str, source: Path) -> Layer:
        """Make the layer of one source, at its path in the image; "" is the root. Raise InputError."""
        with tempfile.NamedTemporaryFile(dir=self.directory, delete=False) as file:
            compressed = _Digest(file)
            with zstd.ZstdFile(compressed, "w") as stream:  # type: ignore[call-overload]
                plain = _Digest(stream)
                with _Archive.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
                    archive.add_source(source, place)
        os.rename(file.name, self._path(compressed.digest))
        return Layer(_descriptor(LAYER, compressed.digest, compressed.size), plain.digest)

    def image(self, platform: Mapping[str, object], layers: Sequence[Layer]) -> Json:
        """Make the manifest of an image and its config. Return its descriptor with the platform."""
        config = {**platform, "rootfs": {"type": "layers", "diff_ids": [layer.plain_digest for layer in layers]}}
        parts = {"config": self._add(CONFIG, config), "layers": [layer.descriptor for layer in layers]}
        return {**self._add_manifest(MANIFEST, parts), "platform": platform}

    def index(self, images: Sequence[Json]) -> Json:
        """Make the index of these images. Return its descriptor."""
        return self._add_manifest(INDEX, {"manifests": images})

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[IO[bytes]]:
        """Open a blob at its start."""
        with self._path(descriptor.digest).open("rb") as file:
            yield file

    def _add_manifest(self, media_type: str, parts: Json) -> Json:
        head = {"schemaVersion": 2, "mediaType": media_type}
        return self._add(media_type, {**head, **parts, "annotations": {CREATED: self.created}})

    def _add(self, media_type: str, document: Json) -> Json:
        content = as_json(document)
        digest = digest_of(content)
        self._path(digest).write_bytes(content)
        return _descriptor(media_type, digest, len(content))

    def _path(self, digest: str) -> Path:
        return self.directory / digest.removeprefix("sha256:")


def as_json(document: Json) -> bytes:
    """Return the bytes of a stored document."""
    return json.dumps(document, separators=(",", ":")).encode()


def _descriptor(media_type: str, digest: str, size: int) -> Json:
    return {"mediaType": media_type, "digest": digest, "size": size}


class _Archive(tarfile.TarFile):
    """Adds files and directories without owner and time, so that each checkout makes the same archive."""

    def add_source(self, source: Path, place: str) -> None:
        """Add the directories above a path, then the source file, or directory with its sorted content."""
        names = place.split("/")
        try:
            for count in range(1, len(names)):
                self.addfile(_header("/".join(names[:count]), stat.S_IFDIR))
            if place:
                self.add(source, place)
            elif self.gettarinfo(source, ".").isreg():
                raise InputError(f'{source} is a file; give it a name in the image, not "."')
            else:
                for name in sorted(os.listdir(source)):
                    self.add(source / name, name)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InputError(f"{error.filename or source}: {reason}; sources are relative to the work dir") from None

    def gettarinfo(self, name: Any = None, arcname: Any = None, fileobj: Any = None) -> tarfile.TarInfo:
        """Return the header of a file or directory. Raise InputError for a path of another type."""
        status = os.lstat(name)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            only = "only files and directories can be in a function"
            raise InputError(f"tar: cannot add non-regular file: {name}; {only}")
        return _header(str(arcname).replace(os.sep, "/"), status.st_mode, status.st_size)


def _header(place: str, mode: int, size: int = 0) -> tarfile.TarInfo:
    header = tarfile.TarInfo(place)
    header.mode = 0o755 if mode & 0o111 or stat.S_ISDIR(mode) else 0o644
    if stat.S_ISDIR(mode):
        header.type = tarfile.DIRTYPE
    else:
        header.size = size
    return header


class _Digest:
    """Writes bytes to a target, and counts and digests them."""

    def __init__(self, target: SupportsWrite[bytes]) -> None:
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


def write_archive(path: Path, layout: Layout, top: Json, version: str) -> None:
    """Write all blobs of a layout to an archive. Make it appear whole or not at all. Raise OSError."""
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**top, "annotations": {REFERENCE: version}}]}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as directory:
        made = Path(directory, path.name)
        with tarfile.open(made, "w", format=tarfile.PAX_FORMAT) as archive:
            _add_file("oci-layout", io.BytesIO(as_json(LAYOUT)), archive)
            _add_file("index.json", io.BytesIO(as_json(index)), archive)
            for blob in sorted(layout.directory.iterdir()):
                with blob.open("rb") as file:
                    _add_file(_blob_name(f"sha256:{blob.name}"), file, archive)
        made.chmod(0o644)
        made.replace(path)


@contextmanager
def open_archive(path: Path) -> Iterator[ImageArchive]:
    """Open the archive of an image. Raise InputError if it is missing or not an archive."""
    try:
        with tarfile.open(path) as archive:
            yield ImageArchive(str(path), archive)
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}; build the image first") from None
    except (tarfile.TarError, EOFError):
        raise InputError(f"{path}: is not an image archive; build it again") from None


class ImageArchive(Source):
    """An open archive. Its methods raise InputError if it is not an archive of an image."""

    def __init__(self, name: str, archive: tarfile.TarFile) -> None:
        self._name = name
        self._archive = archive
        self._members = {member.name.removeprefix("./"): member for member in archive}

    def contents(self) -> tuple[str, str]:
        """Return the digest of its image or index, and its version."""
        with self._open("index.json") as file:
            content = file.read(LARGEST_DOCUMENT)
        try:
            (entry,) = json.loads(content)["manifests"]
            if is_digest(entry["digest"]):
                return entry["digest"], entry["annotations"][REFERENCE]
        except (ValueError, LookupError, TypeError):
            """It is not the index of an archive with one image."""
        raise InputError(f"{self._name}: must hold one image, with its version; build it with function/oci/build")

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[IO[bytes]]:
        """Open a blob at its start."""
        with self._open(_blob_name(descriptor.digest)) as file:
            yield file

    def _open(self, name: str) -> IO[bytes]:
        member = self._members.get(name)
        file = self._archive.extractfile(member) if member is not None and member.isreg() else None
        if file is None:
            raise InputError(f"{self._name}: it has no {name}; build it again")
        return file


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add_file(name: str, content: IO[bytes], archive: tarfile.TarFile) -> None:
    header = tarfile.TarInfo(name)
    header.size = content.seek(0, os.SEEK_END)
    content.seek(0)
    archive.addfile(header, content)
