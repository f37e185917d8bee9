"""The contents of an image, as the functions that build images take them."""

from __future__ import annotations

import datetime
import os
import posixpath
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from step_runner.errors import InputError
from step_runner.fetch.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from step_runner.builtin.layout import Json, Layer, Layout

EPOCH = "SOURCE_DATE_EPOCH"
"""The variable with the time of a build: reproducible-builds.org/specs/source-date-epoch."""


class Files(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The files of an image: sources by their paths in the image."""

    files: dict[str, str] = {}


class PlatformFiles(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"os_version": "os.version", "os_features": "os.features"},
):
    """The files of one platform, and further properties of it."""

    files: dict[str, str] = {}
    variant: str = ""
    features: list[str] = []
    os_version: str = ""
    os_features: list[str] = []


@contextmanager
def made(common: Files, platforms: Mapping[str, PlatformFiles]) -> Iterator[tuple[Layout, Json]]:
    """Yield the blobs of an index with an image for each platform, and its descriptor. Remove them after the block.

    Sources are relative to the current directory. Raise InputError for a file or platform that cannot be used.
    """
    from step_runner.builtin.layout import Layout

    named = _named(platforms)
    with tempfile.TemporaryDirectory(prefix="step-runner-image-") as directory:
        layout = Layout(Path(directory), _created())
        below = _layers(layout, common.files)
        images = [layout.image(platform, [*below, *_layers(layout, contents.files)]) for platform, contents in named]
        yield layout, layout.index(images)


def _named(platforms: Mapping[str, PlatformFiles]) -> list[tuple[Json, PlatformFiles]]:
    """Return each platform as images describe it. Raise InputError for one that is given twice."""
    if not platforms:
        raise InputError('must have at least one platform, such as "linux/amd64" or "generic"')
    found: dict[str, tuple[Json, PlatformFiles]] = {}
    for text, contents in platforms.items():
        platform = _platform(text, contents)
        if (name := str(sorted(platform.items()))) in found:
            raise InputError(f'the platform of "{text}" is given twice; leave out one of its names')
        found[name] = (platform, contents)
    return list(found.values())


def _platform(text: str, contents: PlatformFiles) -> Json:
    parsed = Platform.parse(text)
    named = Platform.named(parsed.os, parsed.architecture, contents.variant or parsed.variant)
    described = {
        "os": named.os,
        "architecture": named.architecture,
        "variant": named.variant,
        "os.version": contents.os_version,
        "os.features": contents.os_features,
        "features": contents.features,
    }
    return {name: value for name, value in described.items() if value}


def _layers(layout: Layout, files: Mapping[str, str]) -> list[Layer]:
    return [layout.layer(place, Path.cwd() / source) for place, source in placed(files)]


def placed(files: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the paths in the image, "" for its root, and their sources. Raise InputError for an invalid path."""
    return [(_destination(destination), _source(source)) for destination, source in files.items()]


def _destination(text: str) -> str:
    if not text.strip():
        raise InputError("empty destination path: give each file a place in the image")
    cleaned = posixpath.normpath(text.strip().lstrip("/"))
    if cleaned.split("/")[0] == "..":
        raise InputError(f'the destination "{text}" is outside of the image; leave out the ".."')
    return "" if cleaned == "." else cleaned


def _source(text: str) -> str:
    if not text.strip():
        raise InputError('empty source path: name a file, or "." for all')
    return posixpath.normpath(text.strip())


def _created() -> str:
    """Return the time of the build, in UTC as RFC 3339 writes it. Raise InputError for an invalid variable."""
    given = os.environ.get(EPOCH, "")
    try:
        moment = datetime.datetime.fromtimestamp(int(given or time.time()), datetime.UTC)
    except (ValueError, OverflowError, OSError):
        raise InputError(f'{EPOCH} is "{given}"; give a number of seconds since 1970') from None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
