"""Builds the image of a function as a file, and publishes that file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from step_runner.builtin.contents import Files, PlatformFiles, made
from step_runner.builtin.push import RepositoryName
from step_runner.builtin.version import Version, tags_of
from step_runner.errors import InputError

if TYPE_CHECKING:
    from step_runner.builtin.push import Source

ARCHIVE = "function-image.tar"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """The archive, relative to the working directory, and the digest of the index in it."""

    archive: str
    digest: str


@dataclass(frozen=True)
class Published:
    """The image with its version, its digest, and all tags that now refer to it."""

    ref: str
    digest: str
    tags: list[str]


def oci_build(version: str, common: Files = Files(), platforms: dict[str, PlatformFiles] = {}) -> Built:  # noqa: B006, B008
    """Build an image for each platform from the common files and its own, into function-image.tar in the work dir.

    Raise InputError.
    """
    from step_runner.builtin.layout import write_archive

    parsed = Version.parse(version)
    with made(common, platforms) as (layout, index):
        try:
            write_archive(Path.cwd() / ARCHIVE, layout, index, str(parsed))
        except OSError as error:
            raise InputError(f"{ARCHIVE}: cannot be written: {(error.strerror or str(error)).lower()}") from None
    _log.info("built %s: version %s, %s, %s", ARCHIVE, parsed, ", ".join(platforms), index["digest"])
    return Built(ARCHIVE, index["digest"])


def oci_publish(archive: Path, to_repository: str) -> Published:
    """Store an image of `function/oci/build` under its version and, if it is the newest, under shorter tags.

    `to_repository` is a registry and a path in it. Raise InputError for an image that cannot be published, FetchError
    if the registry refuses it.
    """
    from step_runner.builtin.layout import open_archive

    target = RepositoryName.parse(to_repository)
    with open_archive(archive) as images:
        digest, version = images.contents()
        return publish(images, digest, Version.parse(version), target)


def publish(source: Source, digest: str, version: Version, target: RepositoryName) -> Published:
    """Store an image under the tags of a version. Raise as `oci_publish`."""
    from step_runner.builtin.push import push

    with target.open() as repository:
        existing = repository.tags()
        known = repository.manifest(str(version)) if str(version) in existing else None
        if known is not None and known.digest != digest:
            advice = "raise the version, or build the same image again, with the same SOURCE_DATE_EPOCH"
            raise InputError(f"{target}:{version}: another image is published as this version; {advice}")
        tags = tags_of(version, existing)
        # Write the tag of the version last: after an error before that, the version can still be published.
        push(source, digest, repository, [*tags[1:], tags[0]])
    _log.info("published %s@%s as %s", target, digest, ", ".join(tags))
    return Published(f"{target}:{version}", digest, list(tags))
