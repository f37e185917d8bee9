"""The documents of an image, as a registry keeps them: from their bytes to what they say.

OCI image specification 1.1: image-index.md, manifest.md, config.md; Docker's documents differ in their names only.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from step_runner.fetch.platform import GENERIC, Platform

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.gitlab.step.layer.v1.tar+zstd"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_MOST_LAYERS = 100_000
_MOST_BYTES = 1 << 50

_Json: TypeAlias = dict[str, Any]


class ImageError(Exception):
    """A document that is not what an image needs, and why."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a document says of another one: its digest and its size in bytes."""

    digest: str
    size: int
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class Index:
    """Images, each for a platform."""

    images: tuple[tuple[Platform, Descriptor], ...]


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its config and its layers, the lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


def digest_of(content: bytes) -> str:
    """The digest by which registries know these bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def matches(content: bytes, digest: str) -> bool:
    """Whether these bytes have this digest."""
    algorithm, _, value = digest.partition(":")
    return hashlib.new(algorithm, content).hexdigest() == value


def is_digest(text: str) -> bool:
    """Whether a text is a digest of an algorithm that we check."""
    return bool(_DIGEST.fullmatch(text))


def parse_manifest(content: bytes) -> Index | Image:
    """The index or the image that a manifest describes. ImageError: it describes neither."""
    document = _object(content, "the registry's answer is no manifest; check that there is a registry at this address")
    if document.get("schemaVersion") == 1:
        raise ImageError("it is in the format of Docker before 2016; push the image again with a current tool")
    try:
        if "manifests" in document:
            return Index(tuple(_entry(entry) for entry in document["manifests"] if _is_image(entry)))
        if "layers" in document:
            return _image(document)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ImageError("its manifest is not understood; check how it was built") from None
    raise ImageError("it is neither an image nor an index of images; check what was pushed there")


def parse_platform(config: bytes) -> Platform:
    """The platform that the config of an image names; GENERIC if it names none. ImageError: it cannot be read."""
    return _platform(_object(config, "its config is not a JSON object; build the image anew"))


def _image(document: _Json) -> Image:
    layers = tuple(map(_descriptor, document["layers"]))
    if len(layers) > _MOST_LAYERS:
        raise ImageError(f"it has more than {_MOST_LAYERS} layers; build it with fewer")
    return Image(_descriptor(document["config"]), layers)


def _entry(entry: _Json) -> tuple[Platform, Descriptor]:
    return _platform(entry.get("platform") or {}), _descriptor(entry)


def _is_image(entry: _Json) -> bool:
    return entry.get("mediaType", MANIFEST) in (MANIFEST, DOCKER_MANIFEST)


def _platform(document: _Json) -> Platform:
    os, architecture, variant = (str(document.get(name) or "") for name in ("os", "architecture", "variant"))
    return Platform.named(os, architecture, variant) if os or architecture else GENERIC


def _descriptor(document: _Json) -> Descriptor:
    digest, size = document["digest"], document["size"]
    if not is_digest(digest):
        raise ImageError(f'the digest "{digest[:80]!s}" is not understood; push the image again with sha256 digests')
    if not (isinstance(size, int) and 0 <= size <= _MOST_BYTES):
        raise ValueError(size)
    return Descriptor(digest, size, str(document.get("mediaType", "")))


def _object(content: bytes, otherwise: str) -> _Json:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ImageError(otherwise)
    return document
