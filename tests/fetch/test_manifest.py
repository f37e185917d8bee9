"""The documents of images: their content, and the refusal of invalid ones."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from step_runner.fetch.messages import RefusedError
from step_runner.fetch.oci.manifest import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    Descriptor,
    Image,
    Index,
    digest_of,
    is_digest,
    matches,
    parse_manifest,
    parse_platform,
)
from step_runner.fetch.oci.platform import GENERIC, Platform

DIGEST = f"sha256:{'a' * 64}"
ENTRY = {"digest": DIGEST, "size": 3}


def parse(**document: Any) -> Index | Image:
    return parse_manifest(json.dumps(document).encode())


def test_image_has_config_and_layers() -> None:
    found = parse(config={**ENTRY, "mediaType": "c"}, layers=[ENTRY, {**ENTRY, "digest": f"sha512:{'b' * 128}"}])

    assert found == Image(Descriptor(DIGEST, 3, "c"), (Descriptor(DIGEST, 3), Descriptor(f"sha512:{'b' * 128}", 3)))


def test_index_has_images_with_platforms() -> None:
    entries = [
        {**ENTRY, "platform": {"os": "linux", "architecture": "x86_64"}},
        {**ENTRY, "platform": {"os": "linux", "architecture": "arm", "variant": "v6"}, "mediaType": DOCKER_MANIFEST},
        ENTRY,
    ]
    found = parse(manifests=entries)

    assert isinstance(found, Index)
    assert [platform for platform, _ in found.images] == [
        Platform("linux", "amd64"),
        Platform("linux", "arm", "v6"),
        GENERIC,
    ]


def test_index_leaves_artifact_out() -> None:
    artifacts = [{**ENTRY, "artifactType": "a/b"}, {**ENTRY, "mediaType": INDEX, "artifactType": "a/b"}]

    assert parse(manifests=artifacts) == Index(())


@pytest.mark.parametrize("kind", [INDEX, DOCKER_INDEX], ids=["oci", "docker"])
def test_nested_index_is_kept_apart_from_images(kind: str) -> None:
    assert parse(manifests=[{**ENTRY, "mediaType": kind}]) == Index((), (Descriptor(DIGEST, 3, kind),))


@pytest.mark.parametrize("platform", [None, {}, {"os": None, "architecture": ""}], ids=["none", "empty", "no names"])
def test_generic_image_precedes_image_without_platform(platform: dict[str, str] | None) -> None:
    """Of two images for any machine, the one whose platform is named `generic` wins."""
    other = f"sha256:{'b' * 64}"
    named = {"os": "generic", "architecture": "generic"}
    found = parse(manifests=[{**ENTRY, "platform": platform}, {**ENTRY, "digest": other, "platform": named}])

    assert isinstance(found, Index)
    assert [(platform, image.digest) for platform, image in found.images] == [(GENERIC, other), (GENERIC, DIGEST)]


def test_index_of_empty_entries_takes_little_memory() -> None:
    """One object for each entry would take a hundred million bytes."""
    content = b'{"manifests":[{}' + b",{}" * 1_000_000 + b"]}"
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError, match=r"^its manifest is not understood; check how it was built$"):
            parse_manifest(content)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"layers": [{"digest": "md5:1", "size": 1}], "config": ENTRY}, 'the digest "md5:1" is not understood; push'),
        ({"layers": [{"digest": 1, "size": 1}], "config": ENTRY}, "its manifest is not understood; check how it was"),
        ({"layers": [{"digest": DIGEST, "size": -1}], "config": ENTRY}, "its manifest is not understood; check how it"),
        ({"layers": [{"digest": DIGEST, "size": "1"}], "config": ENTRY}, "its manifest is not understood; check how"),
        ({"layers": [{"digest": DIGEST, "size": 1 << 60}], "config": ENTRY}, "its manifest is not understood; check"),
        ({"layers": [ENTRY]}, "its manifest names no config; rebuild the image"),
        (
            {"layers": [{**ENTRY, "digest": f"\x1b[31m\n{'x' * 100}"}], "config": ENTRY},
            f'the digest "[31m {"x" * 75}" is not understood; push the image again with sha256 digests',
        ),
        ({"manifests": 1}, "its manifest is not understood; check how it was built"),
        ({"manifests": ["x"]}, "its manifest is not understood; check how it was built"),
        ({"manifests": [{**ENTRY, "platform": "linux"}]}, "its manifest is not understood; check how it was built"),
    ],
)
def test_invalid_manifest_is_refused(document: dict[str, Any], reason: str) -> None:
    with pytest.raises(RefusedError) as caught:
        parse(**document)

    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    ("config", "platform"),
    [
        (b"{}", GENERIC),
        (b'{"os": "linux", "architecture": "arm64", "variant": "v8"}', Platform("linux", "arm64")),
        (b'{"os": "linux", "architecture": "generic"}', GENERIC),
    ],
)
def test_config_may_name_a_platform(config: bytes, platform: Platform) -> None:
    assert parse_platform(config) == platform


def test_config_with_invalid_platform_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"^its config is not understood; rebuild the image$"):
        parse_platform(b'{"os": ["linux"]}')


@pytest.mark.parametrize("config", [b"", b"[]", b"\xff", b"[" * 100_000], ids=["empty", "list", "bytes", "deep"])
def test_config_without_object_is_refused(config: bytes) -> None:
    with pytest.raises(RefusedError, match=r"^its config is not a JSON object; rebuild the image$"):
        parse_platform(config)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [(DIGEST, True), (DIGEST.upper(), False), (DIGEST[:-1], False), (f"sha512:{'0' * 128}", True), ("latest", False)],
)
def test_digest_is_distinguished_from_tag(text: str, is_one: bool) -> None:
    assert is_digest(text) is is_one


def test_content_matches_only_its_own_digest() -> None:
    assert matches(b"one", digest_of(b"one"))
    assert not matches(b"two", digest_of(b"one"))
