"""The limits of one fetch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.images import HERE, archive, member

from step_runner.errors import FetchError
from step_runner.fetch import limits
from step_runner.fetch.limits import LimitError, Limits

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from tests.fetch.conftest import FetchCache, GitServer, Project
    from tests.support.odd_registry import OddRegistry

MANY = "it has more than 1 MiB: set STEP_RUNNER_FETCH_LIMIT to more, such as 20G, or shrink it"


@pytest.fixture
def one_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEP_RUNNER_FETCH_LIMIT", "1M")


@pytest.mark.parametrize(
    ("text", "limit"),
    [("", 8 << 30), ("1000", 1000), ("2k", 2048), ("3M", 3 << 20), ("20G", 20 << 30), ("1TiB", 1 << 40)],
)
def test_limit_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch, text: str, limit: int) -> None:
    monkeypatch.setenv("STEP_RUNNER_FETCH_LIMIT", text)
    Limits().take_bytes(limit)

    with pytest.raises(LimitError, match=r"^it has more than \d+ (bytes|[KMGT]iB): set STEP_RUNNER_FETCH_LIMIT"):
        Limits().take_bytes(limit + 1)


@pytest.mark.parametrize("text", ["much", "-1", "1.5G", "9" * 20])
def test_limit_of_invalid_size_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("STEP_RUNNER_FETCH_LIMIT", text)

    with pytest.raises(
        LimitError, match=r"^STEP_RUNNER_FETCH_LIMIT is not a valid size: write bytes, or a number with"
    ):
        Limits()


@pytest.mark.usefixtures("one_mib")
@pytest.mark.parametrize(
    "layer",
    [
        archive(member("a", bytes(2 << 20))),
        archive(*(member(str(number), bytes(300_000)) for number in range(4))),
        archive(member("a", pax_headers={"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 40)})),
    ],
    ids=["one file", "many files", "hole"],
)
def test_image_unpacking_to_too_many_bytes_is_refused(
    odd_registry: OddRegistry, cache: FetchCache, layer: bytes
) -> None:
    odd_registry.offer("x", "1", {HERE: [zstd.compress(layer)]})

    assert cache.refusal(odd_registry.host) == MANY


@pytest.mark.usefixtures("one_mib")
def test_image_with_too_many_bytes_is_refused_before_transfer(odd_registry: OddRegistry, cache: FetchCache) -> None:
    odd_registry.offer("x", "1", {HERE: [archive(member("a", bytes(2 << 20)))]})

    assert cache.refusal(odd_registry.host) == MANY
    assert odd_registry.blob_requests() == []


@pytest.mark.usefixtures("one_mib")
@pytest.mark.parametrize("content", ["x" * (2 << 20), "\n".join(map(str, range(200_000)))], ids=["blob", "pack"])
def test_commit_with_too_many_bytes_is_refused(
    server: GitServer, project: Project, cache: FetchCache, content: str
) -> None:
    project.commit({"large": content})

    with pytest.raises(FetchError, match=f": {MANY}$"):
        cache.fetch(server.url("project"), "main")
    assert cache.entries() == []


def test_commit_with_too_many_entries_is_refused(
    project: Project, cache: FetchCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few trees that contain each other many times unfold to millions of files."""
    monkeypatch.setattr(limits, "MOST_ENTRIES", 1000)
    tree = project.git("rev-parse", "HEAD:steps/hello")
    for _ in range(10):
        listing = "".join(f"040000 tree {tree}\t{name}\n" for name in "abcd")
        tree = project.git("mktree", text=listing)
    commit = project.git("commit-tree", "-m", "many", tree)

    with pytest.raises(FetchError, match=r": it has more than 1000 files and directories: split it$"):
        cache.fetch(project.directory.as_uri(), commit)
    assert cache.entries() == []
