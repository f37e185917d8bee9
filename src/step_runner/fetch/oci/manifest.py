"""Parses the documents of an image, as a registry stores them.

OCI image specification 1.1: image-index.md, manifest.md, config.md. Docker's documents differ only in their names.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec

from step_runner.fetch.messages import RefusedError, one_line
from step_runner.fetch.oci.names import DIGEST
from step_runner.fetch.oci.platform import GENERIC, Platform

if TYPE_CHECKING:
    from collections.abc import Iterable

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.gitlab.step.layer.v1.tar+zstd"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

_NO_MANIFEST = "the registry's answer is not a manifest; check that there is a registry at this address"
_MOST_BYTES = 1 << 50

_Document = TypeVar("_Document", bound=msgspec.Struct)


class _Platform(msgspec.Struct, frozen=True):
    os: str | None = None
    architecture: str | None = None
    variant: str | None = None


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """A reference to another document: its digest and its size in bytes."""

    digest: str
    size: Annotated[int, msgspec.Meta(ge=0, le=_MOST_BYTES)]
    media_type: str | None = None
    artifact_type: str | None = None
    platform: _Platform | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """An index: images, each for a platform, and further indexes."""

    images: tuple[tuple[Platform, Descriptor], ...]
    indexes: tuple[Descriptor, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its config and its layers, the lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """All references of a manifest: to the images of an index, or to the blobs of an image."""

    media_type: str
    images: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]


def digest_of(content: bytes) -> str:
    """Return the digest of these bytes, by which registries name them."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def matches(content: bytes, digest: str) -> bool:
    """Return whether these bytes have this digest."""
    algorithm, _, value = digest.partition(":")
    return hashlib.new(algorithm, content).hexdigest() == value


def is_digest(text: str) -> bool:
    """Return whether a text is a digest with a supported algorithm."""
    return bool(DIGEST.fullmatch(text))


def parse_manifest(content: bytes) -> Index | Image:
    """Return the index or the image that a manifest describes. Raise RefusedError if it describes neither."""
    document = _decoded(
        content,
        _Manifest,
        no_object=_NO_MANIFEST,
        otherwise="its manifest is not understood; check how it was built",
    )
    if document.schema_version == 1:
        raise RefusedError("it is in the format of Docker before 2016; push the image again with a current tool")
    if document.manifests is not None:
        return _index(document.manifests)
    if document.layers is None:
        raise RefusedError("it is neither an image nor an index of images; check the artifact")
    if document.config is None:
        raise RefusedError("its manifest names no config; rebuild the image")
    config, *layers = _checked([document.config, *document.layers])
    return Image(config, tuple(layers))


def parse_parts(content: bytes) -> Parts:
    """Return all references of a manifest, of any purpose. Raise RefusedError if it is neither index nor image."""
    document = _decoded(content, _Manifest, _NO_MANIFEST, _NO_MANIFEST)
    if document.manifests is not None:
        return Parts(document.media_type or INDEX, _checked(document.manifests), ())
    if document.layers is None or document.config is None:
        raise RefusedError(_NO_MANIFEST)
    return Parts(document.media_type or MANIFEST, (), _checked([*document.layers, document.config]))


def parse_platform(config: bytes) -> Platform:
    """Return the platform in the config of an image, or GENERIC if it has none. Raise RefusedError if not valid."""
    no_object = "its config is not a JSON object; rebuild the image"
    return _platform(_decoded(config, _Platform, no_object, "its config is not understood; rebuild the image"))


class _Manifest(msgspec.Struct, rename="camel"):
    schema_version: int | None = None
    media_type: str | None = None
    manifests: list[Descriptor] | None = None
    layers: list[Descriptor] | None = None
    config: Descriptor | None = None


def _decoded(content: bytes, kind: type[_Document], no_object: str, otherwise: str) -> _Document:
    """Return a document of this kind, without its unknown fields. Raise RefusedError with one of the two texts."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        is_object = isinstance(error, msgspec.ValidationError) and content.lstrip().startswith(b"{")
        raise RefusedError(otherwise if is_object else no_object) from None


def _index(entries: list[Descriptor]) -> Index:
    entries = [entry for entry in entries if not entry.artifact_type]
    images = (entry for entry in entries if entry.media_type in (None, MANIFEST, DOCKER_MANIFEST))
    # An entry without a platform may not be an image of a file system, so entries named generic come before it.
    by_platform = _checked(sorted(images, key=lambda entry: not _is_named(entry.platform)))
    indexes = (entry for entry in entries if entry.media_type in (INDEX, DOCKER_INDEX))
    return Index(tuple((_platform(entry.platform), entry) for entry in by_platform), _checked(indexes))


def _is_named(platform: _Platform | None) -> bool:
    return platform is not None and bool(platform.os or platform.architecture)


def _platform(named: _Platform | None) -> Platform:
    if named is None or not _is_named(named):
        return GENERIC
    return Platform.named(named.os or "", named.architecture or "", named.variant or "")


def _checked(entries: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    """Return the entries. Raise RefusedError if a digest is not supported."""
    checked = tuple(entries)
    for entry in checked:
        if not is_digest(entry.digest):
            shown = one_line(entry.digest)[:80]
            raise RefusedError(f'the digest "{shown}" is not understood; push the image again with sha256 digests')
    return checked
