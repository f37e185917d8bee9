"""Packs of git, and malformed ones."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import pytest

from step_runner.errors import StoppedError
from step_runner.fetch.git.packfile import Pack, PackError
from step_runner.fetch.limits import LimitError, Limits
from step_runner.proc import Proc

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fetch.conftest import FetchCache, GitServer, Project


def read(content: bytes, digits: int = 40, limit: int = 1 << 30) -> Pack:
    return Pack(io.BytesIO(content), digits, Proc(0), Limits(limit))


def number(value: int, first: int = 7) -> list[int]:
    """Return groups of seven bits, the lowest first; the first group has `first` bits."""
    groups, value = [value & (1 << first) - 1], value >> first
    while value:
        groups.append(value & 0x7F)
        value >>= 7
    return groups


def marked(groups: list[int]) -> bytes:
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def entry(kind: int, content: bytes, base: bytes = b"", size: int | None = None) -> bytes:
    groups = number(len(content) if size is None else size, 4)
    return marked([kind << 4 | groups[0], *groups[1:]]) + base + zlib.compress(content)


def pack(*entries: bytes) -> bytes:
    return b"PACK" + (2).to_bytes(4, "big") + len(entries).to_bytes(4, "big") + b"".join(entries) + bytes(20)


def delta(base: int, result: int, *steps: bytes) -> bytes:
    return marked(number(base)) + marked(number(result)) + b"".join(steps)


def blob(content: bytes) -> bytes:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest().encode()


ALL = b"\x90\x05"  # copy five bytes of the base from offset 0
HELLO = entry(3, b"hello")


@pytest.mark.parametrize("options", [[], ["--delta-base-offset"], ["--depth=0"]], ids=["by hash", "by offset", "plain"])
def test_pack_made_by_git_is_read(project: Project, options: list[str]) -> None:
    """The pack has many versions of a file, each a delta to another one, and a large file."""
    lines = list(map(str, range(50_000)))
    for turn in range(20):
        lines[turn * 7] = "changed"
        project.commit({"file": "\n".join(lines), "small": str(turn)})
    project.git("tag", "--annotate", "v1", "--message", "x")
    names = project.git("rev-list", "--objects", "--all", "--no-object-names").split()
    made = subprocess.run(
        ["git", "pack-objects", "--stdout", "--window=50", *options],
        cwd=project.directory,
        input="\n".join(names).encode(),
        capture_output=True,
        check=True,
    ).stdout
    found = read(made)

    assert found.commits("") == sorted(project.git("rev-list", "--all").split())
    for name in names:
        kind = project.git("cat-file", "-t", name)
        content = subprocess.run(
            ["git", "cat-file", kind, name], cwd=project.directory, capture_output=True, check=True
        ).stdout
        assert b"".join(found.pieces(name.encode())) == content
        assert (found[name.encode()].type_name.decode(), found[name.encode()].id.decode()) == (kind, name)


def test_delta_may_precede_its_base() -> None:
    content = pack(entry(7, delta(5, 11, ALL, b"\x01 ", ALL), bytes.fromhex(blob(b"hello").decode())), HELLO)

    assert b"".join(read(content).pieces(blob(b"hello hello"))) == b"hello hello"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PACK", "it ends in the middle"),
        (b"PUCK" + bytes(8), "it has no head"),
        (b"PACK\0\0\0\2\xff\xff\xff\xff", "it has more than 1000000 objects"),
        (pack(HELLO)[:20], "it ends in the middle"),
        (pack(entry(5, b"")), "it has an object of the unknown type 5"),
        (pack(entry(3, b"hello", size=4)), "it has an object of another size than it says"),
        (pack(entry(3, b"hello", size=6)), "it has an object of another size than it says"),
        (pack(b"\xb0" + b"\xff" * 30), "it has a number without an end"),
        (pack(b"\x35hello hello"), "it has an object that is not compressed well"),
        (pack(HELLO, entry(6, b"", b"\x7f")), "it has a delta to an object that is not there"),
        (pack(HELLO, entry(7, b"", bytes(20))), "it has a delta to an object that is not there"),
        (pack(HELLO, entry(6, delta(6, 5, ALL), bytes([len(HELLO)]))), "it has a delta to an object of another size"),
        (pack(HELLO, entry(6, delta(5, 6, ALL), bytes([len(HELLO)]))), "it has a delta whose result has another size"),
        (pack(HELLO, entry(6, delta(5, 4, ALL), bytes([len(HELLO)]))), "it has a delta whose result has another size"),
        (pack(HELLO, entry(6, delta(5, 6, b"\x90\x06"), bytes([len(HELLO)]))), "it has a delta that goes on past an"),
        (pack(HELLO, entry(6, delta(5, 5, b"\x90"), bytes([len(HELLO)]))), "it has a delta that goes on past an end"),
        (pack(HELLO, entry(6, b"", bytes([len(HELLO)]))), "it has a number without an end"),
    ],
)
def test_invalid_pack_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(PackError, match=f"sent an invalid pack: {reason}"):
        read(content)


def test_too_long_chain_of_deltas_is_refused() -> None:
    content = [HELLO]
    for _ in range(300):
        step = entry(6, delta(5, 5, ALL[:2]) + b"", bytes([len(content[-1])]))
        content.append(step)

    with pytest.raises(PackError, match=r": it has more than 250 deltas on one another;"):
        read(pack(*content))


@pytest.mark.parametrize(
    "content",
    [pack(entry(3, bytes(2_000_000))), pack(HELLO, entry(6, delta(5, 2_000_000, ALL), bytes([len(HELLO)])))],
    ids=["blob", "delta"],
)
def test_pack_with_too_much_content_is_refused(content: bytes) -> None:
    with pytest.raises(LimitError, match=r"^it has more than 1000000 bytes: "):
        read(content, limit=1_000_000)


def test_cancel_ends_reading_of_a_pack() -> None:
    proc = Proc(0)
    proc.cancel()

    with pytest.raises(StoppedError):
        Pack(io.BytesIO(pack(HELLO)), 40, proc, Limits())


PROGRAM = """
import sys
from pathlib import Path
from step_runner.fetch.cache import Cache
from step_runner.proc import Proc
from step_runner.fetch.git.fetch import fetch_git
from step_runner.model import Git
url, root, revision = sys.argv[1:]
print(fetch_git(Git(url=url, revision=revision), Cache(root), Proc(0)))
# The peak since exec; that of getrusage begins with the one of the process that forked.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


@pytest.mark.parametrize("place", ["server", "loose", "packed", "alternate"])
def test_large_file_of_a_commit_takes_little_memory(
    server: GitServer, project: Project, cache: FetchCache, place: str
) -> None:
    """A small repository can hold a file of hundreds of megabytes; this holds for each transport and storage."""
    with (project.directory / "large").open("wb") as file:
        file.truncate(100 << 20)
    commit = project.commit({})
    (project.directory / "large").unlink()
    url = server.url("project") if place == "server" else project.directory.as_uri()
    if place in ("packed", "alternate"):
        project.git("gc", "--quiet")
        assert not list(project.directory.glob(".git/objects/??"))
    if place == "alternate":
        project.git("clone", "--quiet", "--bare", "--shared", ".", "../shared.git")
        url = (project.directory.parent / "shared.git").as_uri()
    command = [sys.executable, "-c", PROGRAM, url, str(cache.root), commit]
    directory, memory = subprocess.run(command, text=True, capture_output=True, check=True).stdout.split()

    assert (cache.root / directory / "large").stat().st_size == 100 << 20
    assert int(memory) < 100_000, "KiB"


def test_delta_of_local_repository_is_read(project: Project, cache: FetchCache) -> None:
    lines = list(map(str, range(50_000)))
    for turn in range(5):
        lines[turn] = "changed"
        project.commit({"file": "\n".join(lines)})
    project.git("gc", "--quiet", "--aggressive")
    chains = project.git("verify-pack", "--verbose", *map(str, project.directory.glob(".git/objects/pack/*.idx")))
    assert "chain length = 2" in chains

    for turn in range(5):
        expected = project.git("show", f"main~{turn}:file")
        commit = project.git("rev-parse", f"main~{turn}")
        assert (cache.fetch(project.directory.as_uri(), commit) / "file").read_text() == expected


def test_sha256_repository_is_fetched(server: GitServer, project: Project, cache: FetchCache) -> None:
    other = project.directory.parent / "other"
    other.mkdir()
    git: Callable[..., object] = lambda *words: subprocess.run(  # noqa: E731
        ["git", *words], cwd=other, check=True, capture_output=True
    )
    git("init", "--quiet", "--initial-branch=main", "--object-format=sha256")
    (other / "file").write_text("content")
    git("add", "file")
    git("commit", "--quiet", "--message", "x")

    assert (cache.fetch(server.url("other"), "main") / "file").read_text() == "content"
