"""The files that go into an image: which source of this machine comes to which place in it."""

from __future__ import annotations

import os
import posixpath
import stat
from typing import TYPE_CHECKING, NamedTuple

from step_runner.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class Placed(NamedTuple):
    """A file or a directory, and its place in an image, without a slash in front; "" is the image's root."""

    destination: str
    source: str


class Member(NamedTuple):
    """A file to be written, its place and its mode; a directory has no source."""

    place: str
    mode: int = 0o755
    source: Path | None = None


def placed(files: Mapping[str, str]) -> tuple[Placed, ...]:
    """The pairs of a map from destinations to sources, cleaned. Raises InputError for one that cannot be used."""
    return tuple(Placed(_destination(destination), _source(source)) for destination, source in files.items())


def members(one: Placed, root: Path) -> Iterator[Member]:
    """All that is to be written for a source below `root`, directories before what is in them, by name.

    Raises InputError for what is neither file nor directory, and for what cannot be read.
    """
    yield from map(Member, _parents(one.destination))
    yield from _members(root / one.source, one.destination)


def unreadable(source: Path, error: OSError) -> InputError:
    """The error for a source that cannot be read."""
    reason = (error.strerror or str(error)).lower()
    return InputError(f"{source}: {reason}; sources are relative to the work dir")


def _members(source: Path, place: str) -> Iterator[Member]:
    mode = _mode(source)
    if stat.S_ISREG(mode):
        yield _file(source, place, mode)
        return
    if place:
        yield Member(place)
    for name in _names(source):
        yield from _members(source / name, posixpath.join(place, name))


def _file(source: Path, place: str, mode: int) -> Member:
    if not place:
        raise InputError(f'{source} is a file; give it a name in the image, not "."')
    return Member(place, 0o755 if mode & 0o111 else 0o644, source)


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError as error:
        raise unreadable(directory, error) from None


def _mode(source: Path) -> int:
    try:
        mode = source.lstat().st_mode
    except OSError as error:
        raise unreadable(source, error) from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"tar: cannot add non-regular file: {source}; only files and directories can be in a function")
    return mode


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


def _parents(place: str) -> list[str]:
    parts = place.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]
