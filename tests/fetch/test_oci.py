"""Fetches of functions from a real registry on loopback."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from tests.support.images import (
    ELSEWHERE,
    HERE,
    archive,
    directory,
    files,
    index,
    manifest,
    member,
    named,
    push,
    push_all,
    symlink,
)

from step_runner.errors import FetchError
from step_runner.fetch.oci.fetch import fetch_oci
from step_runner.fetch.oci.manifest import CONFIG, DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST, digest_of
from step_runner.fetch.oci.platform import GENERIC, Platform
from step_runner.fetch.oci.registry import Manifest
from step_runner.model import Oci
from step_runner.proc import Proc

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fetch.conftest import FetchCache
    from tests.support.odd_registry import OddRegistry
    from tests.support.registry import RegistryServer

NOWHERE = "127.0.0.1:1"


# Choice of the image


@pytest.mark.parametrize("kind", ["tag", "digest", "digest of the image"])
def test_image_for_this_machine_is_fetched(
    registry: RegistryServer, repository: str, cache: FetchCache, kind: str
) -> None:
    ours = [files(func__yml="ours")]
    digest = push(registry, repository, "1.0", {ELSEWHERE: [files(func__yml="theirs")], HERE: ours})
    tag = {"tag": "1.0", "digest": digest, "digest of the image": manifest(ours).digest}[kind]

    assert (cache.fetch_image(registry.host, repository, tag) / "func.yml").read_text() == "ours"


def test_generic_image_is_taken_if_no_other_fits(registry: RegistryServer, repository: str, cache: FetchCache) -> None:
    push(registry, repository, "latest", {ELSEWHERE: [files(a="theirs")], GENERIC: [files(a="all")]})

    assert (cache.fetch_image(registry.host, repository) / "a").read_text() == "all"


def test_index_without_matching_image_is_explained(
    registry: RegistryServer, repository: str, cache: FetchCache
) -> None:
    push(registry, repository, "1.0", {ELSEWHERE: [files(a="x")], Platform("plan9", "arm64"): [files(a="y")]})

    with pytest.raises(FetchError) as caught:
        cache.fetch_image(registry.host, repository, "1.0")

    assert str(caught.value) == (
        f"{registry.host}/{repository}:1.0: didn't find an image matching platform {HERE} or generic;"
        " build one, there is plan9/arm64/v8, plan9/mips"
    )
    assert cache.entries() == []


def nest(odd_registry: OddRegistry, depth: int, layers: list[bytes]) -> None:
    """Offer an image of these layers in `depth` nested indexes, next to a generic image."""
    image, generic = manifest(layers), manifest([files(a="all")])
    odd_registry.offer_blobs("x", [b"{}", *layers, files(a="all")])
    inner = image
    for each in (generic, image):
        odd_registry.offer_manifest("x", each.digest, each)
    for _ in range(depth):
        inner = index([(HERE, inner)])
        odd_registry.offer_manifest("x", inner.digest, inner)
    odd_registry.offer_manifest("x", "1", index([(GENERIC, generic), (HERE, inner)]))


@pytest.mark.parametrize(("depth", "found"), [(0, "ours"), (1, "ours"), (2, "ours"), (3, "all")])
def test_nested_indexes_are_followed_two_levels_deep(
    odd_registry: OddRegistry, cache: FetchCache, depth: int, found: str
) -> None:
    nest(odd_registry, depth, [files(a="ours")])

    assert (cache.fetch_image(odd_registry.host, "x", "1") / "a").read_text() == found


def test_index_with_too_many_indexes_is_refused(odd_registry: OddRegistry, cache: FetchCache) -> None:
    inner = index([])
    odd_registry.offer_manifest("x", inner.digest, inner)
    odd_registry.offer_manifest("x", "1", index([(HERE, inner)] * 101))

    assert cache.refusal(odd_registry.host) == "its index names more than 100 indexes; build it with fewer"
    assert len(odd_registry.asked) == 1


def test_missing_nested_index_is_explained(odd_registry: OddRegistry, cache: FetchCache) -> None:
    inner = index([])
    odd_registry.offer_manifest("x", "1", index([(HERE, inner)]))

    reason = f"the registry has no index {inner.digest}, which its index names; push it again"
    assert cache.refusal(odd_registry.host) == reason


@pytest.mark.parametrize(
    "config", [{}, named(HERE), {"os": "linux", "architecture": "generic"}], ids=["none", "this", "generic"]
)
def test_single_image_is_taken_if_its_platform_fits(
    registry: RegistryServer, repository: str, cache: FetchCache, config: dict[str, str]
) -> None:
    layer, content = files(a="single"), json.dumps(config).encode()
    push_all(registry, repository, "latest", manifest([layer], content), [], [content, layer])

    assert (cache.fetch_image(registry.host, repository) / "a").read_text() == "single"


def test_single_image_for_another_platform_is_refused(
    registry: RegistryServer, repository: str, cache: FetchCache
) -> None:
    layer, content = files(a="single"), json.dumps(named(ELSEWHERE)).encode()
    push_all(registry, repository, "latest", manifest([layer], content), [], [content, layer])

    with pytest.raises(FetchError, match=r"platform .* or generic; build one, there is plan9/mips$"):
        cache.fetch_image(registry.host, repository)

    assert cache.entries() == []


def test_image_in_docker_format_is_taken(registry: RegistryServer, repository: str, cache: FetchCache) -> None:
    def as_docker(oci: Manifest) -> Manifest:
        text = oci.content.decode().replace(INDEX, DOCKER_INDEX).replace(MANIFEST, DOCKER_MANIFEST)
        media_type = {INDEX: DOCKER_INDEX, MANIFEST: DOCKER_MANIFEST}[oci.media_type]
        return Manifest(text.replace(CONFIG, "application/vnd.docker.container.image.v1+json").encode(), media_type)

    layer = files(a="docker")
    image = as_docker(manifest([layer]))
    push_all(registry, repository, "latest", as_docker(index([(HERE, image)])), [image], [b"{}", layer])

    assert (cache.fetch_image(registry.host, repository) / "a").read_text() == "docker"


def test_layers_of_all_compressions_are_merged(registry: RegistryServer, repository: str, cache: FetchCache) -> None:
    layers = [
        archive(member("a", b"1"), member("b", b"1"), member("run", b"#!/bin/sh\n", mode=0o755), directory("d")),
        gzip.compress(archive(member("a", b"2"), symlink("link", "/d/c"))),
        zstd.compress(archive(member(".wh.b"), member("d/c", b"3"))),
    ]
    push(registry, repository, "latest", {HERE: layers})
    root = cache.fetch_image(registry.host, repository)

    assert sorted(path.name for path in root.iterdir()) == ["a", "d", "link", "run"]
    assert ((root / "a").read_text(), (root / "link").read_text()) == ("2", "3")
    assert os.access(root / "run", os.X_OK)


def test_registry_in_long_form_may_have_path(registry: RegistryServer, repository: str, cache: FetchCache) -> None:
    push(registry, repository, "latest", {HERE: [files(a="x")]})
    group, _, name = repository.rpartition("/")

    assert (cache.fetch_image(f"{registry.host}/{group}", name) / "a").read_text() == "x"


@pytest.mark.parametrize("tag", ["none", f"sha256:{'0' * 64}"], ids=["tag", "digest"])
def test_unknown_image_is_explained(registry: RegistryServer, repository: str, cache: FetchCache, tag: str) -> None:
    with pytest.raises(FetchError) as caught:
        cache.fetch_image(registry.host, repository, tag)

    separator = "@" if ":" in tag else ":"
    assert str(caught.value) == (
        f"{registry.host}/{repository}{separator}{tag}: the image does not exist, or needs credentials; check its name"
    )
    assert cache.entries() == []


# The cache


def test_tag_is_looked_up_at_each_use(registry: RegistryServer, repository: str, cache: FetchCache) -> None:
    push(registry, repository, "1", {HERE: [files(a="old")]})
    before = cache.fetch_image(registry.host, repository, "1")
    push(registry, repository, "1", {HERE: [files(a="new")]})
    after = cache.fetch_image(registry.host, repository, "1")

    assert ((before / "a").read_text(), (after / "a").read_text()) == ("old", "new")


def test_cached_tag_fails_without_registry(odd_registry: OddRegistry, cache: FetchCache) -> None:
    host = odd_registry.host
    odd_registry.offer("x", "1", {HERE: [files(a="x")]})
    cache.fetch_image(host, "x", "1")
    odd_registry.close()

    with pytest.raises(FetchError, match=r"no connection to .* \(connection refused\); check the URL and the network$"):
        cache.fetch_image(host, "x", "1")


def test_unmoved_tag_costs_one_request(odd_registry: OddRegistry, cache: FetchCache) -> None:
    odd_registry.offer("x", "1", {HERE: [files(a="x")]})
    first = cache.fetch_image(odd_registry.host, "x", "1")
    odd_registry.asked.clear()

    assert cache.fetch_image(odd_registry.host, "x", "1") == first
    assert [asked.path for asked in odd_registry.asked] == ["/v2/x/manifests/1"]


@pytest.mark.parametrize("kind", ["index", "image"])
def test_cached_digest_needs_neither_registry_nor_credentials(
    registry: RegistryServer, repository: str, cache: FetchCache, kind: str
) -> None:
    layers = [files(a="x")]
    digest = push(registry, repository, "1", {HERE: layers})
    wanted = digest if kind == "index" else manifest(layers).digest
    first = cache.fetch_image(registry.host, repository, wanted)

    assert cache.fetch_image(NOWHERE, repository, wanted, DOCKER_AUTH_CONFIG="not JSON") == first


@pytest.mark.parametrize(
    "spoil",
    [os.unlink, lambda path: path.write_text(""), lambda path: path.write_text("x" * 71)],
    ids=["gone", "empty", "something else"],
)
def test_damaged_cached_index_is_looked_up_again(
    odd_registry: OddRegistry, cache: FetchCache, spoil: Callable[[Path], None]
) -> None:
    digest = odd_registry.offer("x", "1", {HERE: [files(a="x")]})
    first = cache.fetch_image(odd_registry.host, "x", digest)
    (noted,) = cache.root.glob("notes/oci-index@*")
    spoil(noted)

    assert cache.fetch_image(odd_registry.host, "x", digest) == first
    assert cache.fetch_image(NOWHERE, "x", digest) == first


@pytest.mark.parametrize("changed", [b"", b" "], ids=["right", "wrong"])
def test_image_named_by_sha512_is_checked(odd_registry: OddRegistry, cache: FetchCache, changed: bytes) -> None:
    offered = manifest([files(a="x")])
    odd_registry.offer_blobs("x", [b"{}", files(a="x")])
    digest = f"sha512:{hashlib.sha512(offered.content + changed).hexdigest()}"
    odd_registry.offer_manifest("x", digest, offered)

    if changed:
        with pytest.raises(FetchError, match="the registry sent a manifest with another digest"):
            cache.fetch_image(odd_registry.host, "x", digest)
    else:
        assert (cache.fetch_image(odd_registry.host, "x", digest) / "a").read_text() == "x"


PROGRAM = """
import sys
from step_runner.fetch.cache import Cache
from step_runner.proc import Proc
from step_runner.fetch.oci.fetch import fetch_oci
from step_runner.model import Oci
registry, tag, root = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
print(fetch_oci(Oci(registry=registry, repository="x", tag=tag), Cache(root), Proc(0), environment=dict))
print(sorted({"urllib3", "ssl", "tarfile", "backports.zstd"}.intersection(sys.modules)))
"""


@pytest.mark.parametrize("kind", ["tag", "digest"])
def test_ten_processes_fetch_an_image_once(odd_registry: OddRegistry, cache: FetchCache, kind: str) -> None:
    digest = odd_registry.offer("x", "1", {HERE: [files(a="x"), files(b="y")]})
    tag = digest if kind == "digest" else "1"
    command = [sys.executable, "-c", PROGRAM, odd_registry.host, tag, str(cache.root)]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(10)
        ]
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        outputs = {process.communicate("go\n")[0].splitlines()[0] for process in _all_started(processes)}

    assert len(outputs) == 1
    assert len(odd_registry.blob_requests()) == 2
    assert len(cache.entries()) == 2


def _all_started(processes: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    """Let all processes begin, and return them."""
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    return processes


def test_cached_digest_loads_no_heavy_modules(odd_registry: OddRegistry, cache: FetchCache) -> None:
    digest = odd_registry.offer("x", "1", {HERE: [files(a="x")]})
    cache.fetch_image(odd_registry.host, "x", digest)
    command = [sys.executable, "-c", PROGRAM, NOWHERE, digest, str(cache.root)]
    output = subprocess.run(command, input="go\n", text=True, capture_output=True, check=True).stdout

    assert output.splitlines()[-1] == "[]"


# Images that do harm


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (archive(member("../escaped", b"x")), "has the path '../escaped', which leads out of the image"),
        (archive(member("a/../../escaped", b"x")), "has the path 'a/../../escaped', which leads out of the image"),
        (b"no archive", "is not a tar archive, plain or in zstd or gzip (truncated header)"),
    ],
    ids=["upwards", "hidden upwards", "text"],
)
def test_refused_layer_is_named(
    registry: RegistryServer, repository: str, cache: FetchCache, layer: bytes, reason: str
) -> None:
    push(registry, repository, "1", {HERE: [files(a="x"), layer]})

    with pytest.raises(FetchError) as caught:
        cache.fetch_image(registry.host, repository, "1")

    assert str(caught.value) == (
        f"{registry.host}/{repository}:1: the layer {digest_of(layer)} {reason}; it is refused, rebuild the image"
    )
    assert cache.entries() == []


def test_link_out_of_image_exposes_nothing(
    registry: RegistryServer, repository: str, cache: FetchCache, tmp_path: Path
) -> None:
    out = f"{tmp_path}/escaped"
    layers = [archive(symlink("a", out), symlink("b", "../" * 20)), archive(member("a/x", b"1"), member("b/y", b"2"))]
    push(registry, repository, "1", {HERE: layers})
    root = cache.fetch_image(registry.host, repository, "1")

    assert not os.path.exists(out)
    assert (root / "a/x").resolve() == root / out.lstrip("/") / "x"
    assert (root / "y").read_text() == "2"


def test_blob_with_another_digest_is_refused(registry: RegistryServer, repository: str, cache: FetchCache) -> None:
    layer = archive(member(repository, b"x" * 100_000))
    push(registry, repository, "1", {HERE: [layer]})
    registry.spoil(digest_of(layer))

    with pytest.raises(FetchError) as caught:
        cache.fetch_image(registry.host, repository, "1")

    assert str(caught.value) == (
        f"{registry.host}/{repository}@{digest_of(layer)}:"
        " the registry sent a blob with another sha256 digest; push the image again"
    )
    assert cache.entries() == []


# Large images


def test_ten_thousand_files_are_fetched(registry: RegistryServer, repository: str, cache: FetchCache) -> None:
    content = archive(*(member(f"d{number % 100}/f{number}", b"%d" % number) for number in range(10_000)))
    push(registry, repository, "latest", {HERE: [zstd.compress(content)]})
    root = cache.fetch_image(registry.host, repository)

    assert sum(path.is_file() for path in root.rglob("*")) == 10_000
    assert (root / "d99/f9999").read_text() == "9999"


def test_layer_of_200_megabytes_is_fetched(registry: RegistryServer, repository: str, cache: FetchCache) -> None:
    size = 200_000_000
    push(registry, repository, "latest", {HERE: [zstd.compress(archive(member("large", bytes(size))))]})
    root = cache.fetch_image(registry.host, repository)

    assert (root / "large").stat().st_size == size


def test_progress_is_reported_in_megabytes(registry: RegistryServer, repository: str, cache: FetchCache) -> None:
    push(registry, repository, "latest", {HERE: [archive(member("a", bytes(3_000_000)))]})
    lines: list[str] = []
    reference = Oci(registry=registry.host, repository=repository)
    fetch_oci(reference, cache, Proc(0), environment=dict, progress=lines.append)

    name = f"{registry.host}/{repository}:latest"
    assert lines[0] == f"fetching {name}: looking it up"
    assert lines[-1] == f"fetching {name}: 3.0 of 3.0 MB"


def test_file_with_too_long_name_is_reported(odd_registry: OddRegistry, cache: FetchCache) -> None:
    odd_registry.offer("x", "1", {HERE: [archive(member("n" * 300, b"1"))]})
    with pytest.raises(
        FetchError, match=r"x:1: it has a file whose name is too long for this system; rebuild the image"
    ):
        cache.fetch_image(odd_registry.host, "x", "1")
    assert cache.entries() == []
