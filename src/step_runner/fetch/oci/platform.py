"""Platforms of images: reads their names, and chooses the one that fits this machine."""

from __future__ import annotations

import platform as machine
from dataclasses import dataclass
from typing import TYPE_CHECKING

from step_runner.errors import InputError
from step_runner.fetch.messages import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SYSTEMS = {"macos": "darwin"}
_ARCHITECTURES = {
    **dict.fromkeys(("x86_64", "x86-64"), ("amd64", "")),
    **dict.fromkeys(("i386", "i486", "i586", "i686"), ("386", "")),
    "aarch64": ("arm64", ""),
    "arm": ("arm", "v7"),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv8l": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
}
_USUAL_VARIANTS = {"amd64": "v1", "arm64": "v8"}
_LOWEST_VERSIONS = {"amd64": 1, "arm64": 8, "arm": 5}
_ANY = "generic"
_MOST_LISTED = 10


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system and a processor, in the names that images use; `Platform.named` also accepts other names."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def named(cls, os: str, architecture: str, variant: str = "") -> Platform:
        """Return the platform with these names, which may be those of the kernel: `x86_64` is `amd64`.

        The usual variant of an architecture is left out, except that `arm` without a variant becomes `arm/v7`.
        """
        os, architecture, variant = os.lower(), architecture.lower(), variant.lower()
        if _ANY in (os, architecture):
            return GENERIC
        architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
        variant = f"v{variant}" if variant.isdigit() else variant or implied
        if variant == _USUAL_VARIANTS.get(architecture):
            variant = ""
        return cls(_SYSTEMS.get(os, os), architecture, variant)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Return the platform `os/architecture`, `os/architecture/variant` or `generic`. Raise InputError otherwise."""
        parts = text.strip().split("/")
        if parts == [_ANY]:
            return GENERIC
        if len(parts) not in (2, 3) or not all(parts):
            raise InputError(f'invalid platform "{text}"; write os/architecture, such as "linux/amd64", or "{_ANY}"')
        return cls.named(*parts)

    def __str__(self) -> str:
        if self == GENERIC:
            return _ANY
        variant = self.variant or ("v8" if self.architecture == "arm64" else "")
        return "/".join(filter(None, (self.os, self.architecture, variant)))


GENERIC = Platform(_ANY, _ANY)
"""Fits every platform."""


def running_platform() -> Platform:
    """Return the platform of this machine."""
    return Platform.named(machine.system(), machine.machine())


def choose(offered: Sequence[Platform], running: Platform) -> int | None:
    """Return the index in `offered` of the platform closest to `running`, else of a generic one, else None."""
    for wanted in (*_fitting(running), GENERIC):
        if wanted in offered:
            return offered.index(wanted)
    return None


def listed(platforms: Iterable[Platform]) -> str:
    """Return the names of at most ten platforms for a message, safe to show although they may come from a registry."""
    names = sorted({one_line(str(platform)) for platform in platforms}) or ["none"]
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def _fitting(running: Platform) -> Iterator[Platform]:
    """Yield the platforms that run on `running`, the closest first.

    arm64 runs arm from v8 down, each arm runs the lower ones, and amd64 runs 386. The rules are those of containerd's
    platforms package.
    """
    yield running
    number = running.variant.removeprefix("v")
    if number.isdigit() and (lowest := _LOWEST_VERSIONS.get(running.architecture)):
        for version in range(int(number) - 1, lowest - 1, -1):
            yield Platform.named(running.os, running.architecture, f"v{version}")
    if running.architecture == "amd64":
        yield Platform(running.os, "386")
    if running.architecture == "arm64":
        yield from (Platform(running.os, "arm", f"v{version}") for version in (8, 7, 6, 5))
