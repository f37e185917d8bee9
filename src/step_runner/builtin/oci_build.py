"""Builds the image of a function, as a file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from step_runner.builtin.contents import Files, PlatformFiles, made
from step_runner.builtin.version import Version
from step_runner.errors import InputError

ARCHIVE = "function-image.tar"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """The archive, relative to the work dir, and the digest of the index in it."""

    archive: str
    digest: str


def oci_build(version: str, common: Files = Files(), platforms: dict[str, PlatformFiles] = {}) -> Built:  # noqa: B006, B008
    """Builds an image for each platform from the common files and its own, into function-image.tar in the work dir.

    Raises InputError.
    """
    from step_runner.builtin.archive import write_archive

    parsed = Version.parse(version)
    with made(common, platforms) as (layout, index):
        try:
            write_archive(Path.cwd() / ARCHIVE, layout, index, str(parsed))
        except OSError as error:
            raise InputError(f"{ARCHIVE}: cannot be written: {(error.strerror or str(error)).lower()}") from None
    _log.info("built %s: version %s, %s, %s", ARCHIVE, parsed, ", ".join(platforms), index["digest"])
    return Built(ARCHIVE, index["digest"])
