"""The functions for images under their names of 2025; they are deprecated and log that."""

from __future__ import annotations

import logging
import os
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import msgspec

from step_runner.builtin.contents import Files, PlatformFiles, made
from step_runner.builtin.oci import publish
from step_runner.builtin.push import RepositoryName
from step_runner.builtin.version import Version
from step_runner.errors import InputError
from step_runner.fetch.oci.manifest import digest_of
from step_runner.fetch.oci.names import checked_tag, image_name, split_image

if TYPE_CHECKING:
    from collections.abc import Mapping


_log = logging.getLogger(__name__)


class Digest(TypedDict):
    """A digest, in parts and as a whole."""

    algorithm: str
    hash: str
    value: str


@dataclass(frozen=True)
class Pushed:
    """The pushed image and its repository."""

    registry: str
    repository: str
    tag: str
    ref: str
    digest: Digest


@dataclass(frozen=True)
class Fetched:
    """The path of the function's step file or directory, and the image that it came from."""

    fetched_step_path: str
    ref: str


def build(
    registry: str,
    repository: str,
    tag: str,
    common: Files = Files(),  # noqa: B008 - immutable
    platforms: dict[str, PlatformFiles] = {},  # noqa: B006 - never changed
) -> Pushed:
    """Build an image and push it at once; `files` are paths in the image by their sources. Raise InputError."""
    from step_runner.builtin.push import push

    _warn_deprecated("step/oci/build", "function/oci/build and function/oci/publish")
    target = RepositoryName.parse(f"{registry}/{repository}")
    with target.open() as there:
        if there.manifest(checked_tag(tag)) is not None:
            raise InputError(f"image already published: {target}:{tag}")
        inverted = {name: msgspec.structs.replace(one, files=_inverted(one.files)) for name, one in platforms.items()}
        with made(Files(_inverted(common.files)), inverted) as (layout, index):
            push(layout, index["digest"], there, [tag])
    algorithm, _, hash_ = index["digest"].partition(":")
    digest = Digest(algorithm=algorithm, hash=hash_, value=index["digest"])
    return Pushed(target.registry, target.path, tag, f"{target}:{tag}", digest)


def fetch(registry: str, repository: str, tag: str, step_path: str = "") -> Fetched:
    """Fetch an image into the function cache. Raise InputError, FetchError."""
    from step_runner.fetch.cache import Cache
    from step_runner.fetch.oci.fetch import fetch_oci
    from step_runner.model import Oci
    from step_runner.proc import Proc

    _warn_deprecated("step/oci/fetch", f'"{registry}/{repository}:{tag}" as the function')
    image = RepositoryName.parse(f"{registry}/{repository}")
    reference = Oci(registry=image.registry, repository=image.path, tag=checked_tag(tag or "latest"))
    directory = fetch_oci(reference, Cache(), Proc(0), environment=lambda: os.environ)
    path = posixpath.normpath(posixpath.join(directory, step_path.strip("/")))
    return Fetched(path, image_name(f"{registry}/{repository}", reference.tag))


def promote(from_image: str, to_registry: str, to_repository: str, to_version: str) -> None:
    """Copy an image with its digest to the tags of a version. Raise InputError, FetchError."""
    from step_runner.builtin.push import RemoteImages

    _warn_deprecated("step/oci/promote", "function/oci/publish")
    version = Version.parse(to_version)
    source, reference = split_image(from_image.strip())
    if not reference:
        advice = "such as registry.example.com/group/name:1.0.0"
        raise InputError(f'"{from_image[:80]}" must specify tag or digest, {advice}')
    with RepositoryName.parse(source).open() as there:
        images = RemoteImages(there)
        digest = digest_of(images.manifest(reference))
        publish(images, digest, version, RepositoryName.parse(f"{to_registry}/{to_repository}"))


def _warn_deprecated(name: str, instead: str) -> None:
    _log.warning("%s is deprecated: use %s", name, instead)


def _inverted(files: Mapping[str, str]) -> dict[str, str]:
    """Return sources by destination from destinations by source. Raise InputError for a repeated destination."""
    inverted = {destination: source for source, destination in files.items()}
    if len(inverted) < len(files):
        raise InputError("two sources have the same destination; give each its own")
    return inverted
