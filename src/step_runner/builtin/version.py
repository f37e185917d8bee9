"""Versions of functions, and the tags under which one is published."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from step_runner.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

NUMBER = r"0|[1-9]\d*"
VERSION = re.compile(rf"({NUMBER})\.({NUMBER})\.({NUMBER})(-[0-9A-Za-z.-]+)?")
LONGEST = 128
"""Characters of a tag: OCI distribution specification 1.1, section "Pulling manifests"."""


class Version(NamedTuple):
    """A version; with a suffix, such as `-rc1`, it is not a release."""

    major: int
    minor: int
    patch: int
    suffix: str = ""

    @classmethod
    def parse(cls, text: str) -> Version:
        """Return the version that a text means. Raise InputError if it is not a semantic version."""
        found = VERSION.fullmatch(text)
        if not found or len(text) > LONGEST:
            message = "version does not conform to semantic versioning major.minor.patch[-release]"
            raise InputError(f'{message}: "{text[:LONGEST]}"')
        major, minor, patch = map(int, found.group(1, 2, 3))
        return cls(major, minor, patch, found[4] or "")

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}{self.suffix}"


def tags_of(version: Version, existing: Iterable[str]) -> tuple[str, ...]:
    """Return the tags to write for a version: itself and, for a release, the shorter tags of which it is the newest.

    `existing` are the tags of the repository; tags that are not releases do not count.
    """
    if version.suffix:
        return (str(version),)
    releases = [Version.parse(tag) for tag in existing if VERSION.fullmatch(tag) and "-" not in tag]
    tags = [str(version)]
    for length, tag in ((2, f"{version.major}.{version.minor}"), (1, f"{version.major}"), (0, "latest")):
        if any(other[:length] == version[:length] and other > version for other in releases):
            break
        tags.append(tag)
    return tuple(tags)
