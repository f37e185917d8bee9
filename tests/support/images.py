"""Makes images, and pushes them to a registry."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

from step_runner.fetch.oci.credentials import Credentials
from step_runner.fetch.oci.manifest import CONFIG, INDEX, LAYER, MANIFEST, digest_of
from step_runner.fetch.oci.platform import Platform, running_platform
from step_runner.fetch.oci.registry import Manifest, open_repository
from step_runner.proc import Proc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.registry import RegistryServer

HERE = running_platform()
ELSEWHERE = Platform("plan9", "mips")


SPARSE_MAP = {
    "GNU.sparse.major": "1",
    "GNU.sparse.minor": "0",
    "GNU.sparse.name": "newer",
    "GNU.sparse.realsize": "1025",
}
"""The headers of a sparse file whose content begins with the map of its chunks."""


def member(name: str, content: bytes = b"", **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    """Return an entry of an archive; `attributes` are attributes of TarInfo."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o644
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def directory(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE, mode=mode)


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return a tar archive of these entries."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def sparse(chunks: bytes, size: int) -> bytes:
    """Return the header of a sparse file of this size in GNU tar's older format, with 512 bytes of content."""
    info = tarfile.TarInfo("sparse")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[386 : 386 + len(chunks)] = chunks
    block[483:495] = b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def files(**contents: str) -> bytes:
    """Return a gzip layer with these files, always the same bytes; a double underscore in a name means a dot."""
    members = (member(name.replace("__", "."), text.encode()) for name, text in contents.items())
    return gzip.compress(archive(*members), 1, mtime=0)


def descriptor(content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}


def manifest(layers: Iterable[bytes], config: bytes = b"{}") -> Manifest:
    """Return the manifest of an image with these layers."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(config, CONFIG),
        "layers": [descriptor(layer, LAYER) for layer in layers],
    }
    return Manifest(json.dumps(document).encode(), MANIFEST)


def index(images: Iterable[tuple[Platform, Manifest]]) -> Manifest:
    """Return the index of these images."""
    entries = [descriptor(image.content, image.media_type, platform=named(platform)) for platform, image in images]
    return Manifest(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode(), INDEX)


def named(platform: Platform) -> dict[str, str]:
    names = {"os": platform.os, "architecture": platform.architecture, "variant": platform.variant}
    return {name: value for name, value in names.items() if value}


def push(
    server: RegistryServer,
    repository: str,
    tag: str,
    images: dict[Platform, list[bytes]],
    credentials: Credentials | None = None,
) -> str:
    """Push an index of images, each with these layers, and return its digest."""
    made = [(platform, manifest(layers)) for platform, layers in images.items()]
    blobs = [b"{}", *(layer for layers in images.values() for layer in layers)]
    return push_all(server, repository, tag, index(made), [image for _, image in made], blobs, credentials)


def push_all(
    server: RegistryServer,
    repository: str,
    tag: str,
    top: Manifest,
    images: Iterable[Manifest],
    blobs: Iterable[bytes],
    credentials: Credentials | None = None,
) -> str:
    """Push blobs, images and the manifest of the tag; return the digest of that manifest."""
    with open_repository(server.host, repository, credentials or Credentials(), Proc(0)) as there:
        for blob in blobs:
            there.upload_blob(io.BytesIO(blob), len(blob), digest_of(blob))
        for image in images:
            there.put_manifest(image.digest, image)
        there.put_manifest(tag, top)
    return top.digest
