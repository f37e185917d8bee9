"""Images as one file: a tar archive of an image layout, image-layout.md of the OCI image specification 1.1."""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from step_runner.builtin.layout import as_json
from step_runner.builtin.push import LARGEST_DOCUMENT, Stored
from step_runner.errors import InputError
from step_runner.fetch.oci.manifest import INDEX, is_digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from step_runner.builtin.layout import Json, Layout

REFERENCE = "org.opencontainers.image.ref.name"
LAYOUT = {"imageLayoutVersion": "1.0.0"}


class Contents(NamedTuple):
    """What an archive holds: the digest of its image or index, and the version that it was built as."""

    digest: str
    version: str


def write_archive(path: Path, layout: Layout, top: Json, version: str) -> None:
    """Write all blobs of a layout to an archive, which is there as a whole or not at all. Raises OSError."""
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**top, "annotations": {REFERENCE: version}}]}
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        try:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                _add("oci-layout", io.BytesIO(as_json(LAYOUT)), archive)
                _add("index.json", io.BytesIO(as_json(index)), archive)
                for digest in layout.digests():
                    with layout.open(digest) as blob:
                        _add(_place(digest), blob, archive)
            file.close()  # Windows replaces no open file
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            file.close()
            os.unlink(file.name)
            raise


@contextmanager
def open_archive(path: Path) -> Iterator[ImageArchive]:
    """The archive of an image. Raises InputError where there is none."""
    try:
        with tarfile.open(path) as archive:
            yield ImageArchive(str(path), archive)
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}; build the image first") from None
    except (tarfile.TarError, EOFError):
        raise InputError(f"{path}: is no archive of an image; build it again") from None


class ImageArchive(Stored):
    """An archive that was opened; what is asked of it raises InputError where it is not what it should be."""

    def __init__(self, name: str, archive: tarfile.TarFile) -> None:
        self._name = name
        self._archive = archive
        self._members = {member.name.removeprefix("./"): member for member in archive}

    def contents(self) -> Contents:
        """What is in it."""
        with self._open("index.json") as file:
            content = file.read(LARGEST_DOCUMENT)
        try:
            (entry,) = json.loads(content)["manifests"]
            return Contents(_checked_digest(entry), entry["annotations"][REFERENCE])
        except (ValueError, LookupError, TypeError):
            raise self._error("must hold one image, with its version; build it with function/oci/build") from None

    @contextmanager
    def open(self, digest: str) -> Iterator[IO[bytes]]:
        """The bytes of what has a digest."""
        with self._open(_place(digest)) as file:
            yield file

    def _open(self, name: str) -> IO[bytes]:
        member = self._members.get(name)
        file = self._archive.extractfile(member) if member is not None and member.isreg() else None
        if file is None:
            raise self._error(f"there is no {name} in it; build it again")
        return file

    def _error(self, message: str) -> InputError:
        return InputError(f"{self._name}: {message}")


def _checked_digest(entry: dict[str, Any]) -> str:
    digest = entry["digest"]
    if not (isinstance(digest, str) and is_digest(digest)):
        raise ValueError(digest)
    return digest


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add(name: str, content: IO[bytes], archive: tarfile.TarFile) -> None:
    header = tarfile.TarInfo(name)
    header.size = content.seek(0, os.SEEK_END)
    content.seek(0)
    archive.addfile(header, content)
