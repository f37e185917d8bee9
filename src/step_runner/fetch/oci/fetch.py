"""Fetches functions from registries: turns a tag or a digest into a directory with the files of an image.

A digest always means the same image, so the cache answers it after the first fetch. A tag is looked up at each use,
which fails without a network. The cache holds, for the platform of this machine:

    oci-image, platform, digest    the files of the image with this manifest, which fits the platform
    oci-index, platform, digest    a note: the digest of the image chosen from this index

An index offers an image for each platform. An image without an index is accepted if its config names no platform, or
one that fits this machine.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from step_runner.fetch.limits import Limits
from step_runner.fetch.messages import RefusedError, explained, one_line, reason_of
from step_runner.fetch.oci.credentials import find_credentials
from step_runner.fetch.oci.manifest import (
    Descriptor,
    Image,
    Index,
    is_digest,
    parse_manifest,
    parse_platform,
)
from step_runner.fetch.oci.names import image_name
from step_runner.fetch.oci.platform import Platform, choose, listed, running_platform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from step_runner.fetch.cache import Cache, Key
    from step_runner.fetch.oci.registry import ImageRepository
    from step_runner.model import Oci
    from step_runner.proc import Proc

_Kind = TypeVar("_Kind", Index, Image)
_LARGEST_CONFIG = 4 << 20  # bytes
_DEEPEST = 2  # levels of indexes below the requested one
_MOST_INDEXES = 100  # each needs a request


def fetch_oci(
    reference: Oci,
    cache: Cache,
    proc: Proc,
    *,
    environment: Callable[[], Mapping[str, str]],
    progress: Callable[[str], None] = lambda text: None,
) -> str:
    """Return the directory with all files of the image that `reference` means; ignore its `directory`.

    Credentials come from `environment`, only if the registry is needed. `progress` is called often with one line, from
    any thread. Raise FetchError with one sentence (image, reason, advice), and StoppedError after a cancel.
    """
    proc.check()
    # The registry of a long form may have a path after its host, as in registry.example.com/group.
    host, _, path = reference.registry.partition("/")
    repository = f"{path}/{reference.repository}" if path else reference.repository
    platform = running_platform()
    fetch = _Fetch(host.lower(), repository, reference.tag, cache, proc, environment, progress, platform)
    return str(fetch.remembered() or fetch.look_up())


@dataclass(frozen=True)
class _Fetch:
    registry: str
    repository: str
    tag: str
    cache: Cache
    proc: Proc
    environment: Callable[[], Mapping[str, str]]
    progress: Callable[[str], None]
    platform: Platform

    @property
    def name(self) -> str:
        return image_name(f"{self.registry}/{self.repository}", self.tag)

    def remembered(self) -> Path | None:
        """Return the directory that the cache has for a digest, or None."""
        if not is_digest(self.tag):
            return None
        chosen = self.cache.note(self._key("oci-index", self.tag))
        return self.cache.find(self._key("oci-image", chosen if is_digest(chosen) else self.tag))

    def look_up(self) -> Path:
        """Return the directory of the image that the registry has now."""
        with self._repository() as repository:
            self.progress(f"fetching {self.name}: looking it up")
            manifest = repository.manifest(self.tag)
            if manifest is None:
                raise RefusedError("the image does not exist, or needs credentials; check its name")
            found = parse_manifest(manifest.content)
            if isinstance(found, Image):
                return self._get(repository, manifest.digest, found)
            chosen = self._choose(self._images(repository, found))
            path = self._get(repository, chosen.digest, chosen)
            self.cache.keep_note(self._key("oci-index", manifest.digest), chosen.digest)
            return path

    def _get(self, repository: ImageRepository, digest: str, found: Image | Descriptor) -> Path:
        return self.cache.get(self._key("oci-image", digest), partial(self._make, repository, found), self.proc)

    @contextmanager
    def _repository(self) -> Iterator[ImageRepository]:
        # Loading urllib3 takes a twentieth of a second; answers of the cache do not need it.
        from step_runner.fetch.oci.registry import open_repository

        with explained(self.name, self.proc, _reason):
            credentials = find_credentials(self.environment(), self.registry, self.repository, self.proc)
            with open_repository(self.registry, self.repository, credentials, self.proc) as repository:
                yield repository

    def _images(self, repository: ImageRepository, index: Index) -> list[tuple[Platform, Descriptor]]:
        """Return the images of an index and of its nested indexes."""
        images, level = list(index.images), [index]
        for _ in range(_DEEPEST):
            below = [descriptor for each in level for descriptor in each.indexes]
            if len(below) > _MOST_INDEXES:
                raise RefusedError(f"its index names more than {_MOST_INDEXES} indexes; build it with fewer")
            level = [_part(repository, descriptor, Index) for descriptor in below]
            images += (image for each in level for image in each.images)
        return images

    def _choose(self, images: Sequence[tuple[Platform, Descriptor]]) -> Descriptor:
        offered = [platform for platform, _ in images]
        position = choose(offered, self.platform)
        if position is None:
            missing = f"didn't find an image matching platform {self.platform} or generic"
            raise RefusedError(f"{missing}; build one, there is {listed(offered)}")
        return images[position][1]

    def _make(self, repository: ImageRepository, found: Image | Descriptor, directory: Path, _scratch: Path) -> None:
        """Write the files of an image that has no index, or of the image that an index names."""
        if isinstance(found, Image):
            self._choose([(parse_platform(_content(repository, found.config)), found.config)])
        else:
            found = _part(repository, found, Image)
        self._unpack(repository, found, directory)

    def _unpack(self, repository: ImageRepository, image: Image, directory: Path) -> None:
        from step_runner.fetch.oci.layers import unpack
        from step_runner.fetch.oci.rootfs import LayerError, RootFs

        size = sum(layer.size for layer in image.layers)
        Limits().take_bytes(size)
        root = RootFs(directory, self.proc, Limits())
        received = self._counter(size)
        for layer in image.layers:
            try:
                with repository.blob(layer, received) as blob:
                    unpack(blob, root, self.proc)
                    for _ in blob:
                        """Its digest is checked at its end."""
            except LayerError as error:
                raise RefusedError(f"the layer {layer.digest} {error}; it is refused, rebuild the image") from None
        root.finish()

    def _counter(self, size: int) -> Callable[[int], None]:
        received = 0

        def count(bytes_: int) -> None:
            nonlocal received
            received += bytes_
            self.progress(f"fetching {self.name}: {received / 1e6:.1f} of {size / 1e6:.1f} MB")

        return count

    def _key(self, kind: str, digest: str) -> Key:
        return (kind, str(self.platform), digest)


def _part(repository: ImageRepository, descriptor: Descriptor, kind: type[_Kind]) -> _Kind:
    """Return the image or index of an entry of an index. Raise RefusedError if the registry has none."""
    manifest = repository.manifest(descriptor.digest)
    found = parse_manifest(manifest.content) if manifest else None
    if not isinstance(found, kind):
        name = kind.__name__.lower()
        raise RefusedError(f"the registry has no {name} {descriptor.digest}, which its index names; push it again")
    return found


def _content(repository: ImageRepository, config: Descriptor) -> bytes:
    if config.size > _LARGEST_CONFIG:
        raise RefusedError(f"its config is larger than {_LARGEST_CONFIG >> 20} MiB; rebuild the image")
    with repository.blob(config) as blob:
        return b"".join(blob)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return "it has a file whose name is too long for this system; rebuild the image"
    otherwise = f"the image is not understood ({type(error).__name__}); rebuild it"
    return reason_of(error, "", one_line, otherwise)
