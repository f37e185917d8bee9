"""Layers that would take more memory, time or interpreter frames than an honest layer."""

from __future__ import annotations

import contextlib
import gc
import sys
import tarfile
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import pytest
from tests.support.images import SPARSE_MAP, archive, directory, member, sparse, symlink
from tests.support.layers import lay, pieces

from step_runner.errors import StoppedError
from step_runner.fetch import limits
from step_runner.fetch.limits import LimitError, Limits
from step_runner.fetch.oci.layers import unpack
from step_runner.fetch.oci.rootfs import LayerError, RootFs
from step_runner.proc import Proc

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


def header(kind: bytes, size: int) -> bytes:
    """Return the block that announces an extended header of `size` bytes."""
    info = tarfile.TarInfo("a")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "layer",
    [
        header(tarfile.XHDTYPE, 1 << 40) + bytes(10_000),
        header(tarfile.GNUTYPE_LONGNAME, 1 << 40) + bytes(10_000),
        (header(tarfile.GNUTYPE_LONGNAME, 1 << 20) + b"n" * (1 << 20)) * 3,
        sparse(b"\0" * 96 + b"\1", 512) + (b"00000000001\0" * 42 + b"\1" + bytes(7)) * 6_000,
        archive(member("a", b"9999999\n" + b"1\n" * 1_500_000, pax_headers=SPARSE_MAP)),
    ],
    ids=["pax", "gnu", "three of gnu", "chunks of gnu", "chunks of pax"],
)
def test_headers_filling_the_memory_are_refused(root: Path, layer: bytes) -> None:
    with pytest.raises(LayerError, match=r"^has more than 2 MiB of headers in front of one file$"):
        lay(root, zstd.compress(layer))


def test_header_with_too_many_digits_is_refused(root: Path) -> None:
    with pytest.raises(LayerError, match=r"^has a header with more than 300 digits in a row$"):
        lay(root, header(tarfile.XHDTYPE, 10_240) + b"1" * 10_240 + bytes(10_240))


def test_many_files_may_have_large_headers(root: Path) -> None:
    attributes = {"SCHILY.xattr.user.x": "x" * 60_000}
    names = [f"{number:0>150}" for number in range(100)]

    assert len(lay(root, archive(*(member(name, b"1", pax_headers=attributes) for name in names)))) == 100


def test_global_header_is_ignored(root: Path) -> None:
    """Container engines ignore it too; the content of many such headers would accumulate in memory."""
    record = b"13 path=evil\n"
    layer = header(tarfile.XGLTYPE, len(record)) + record.ljust(512, b"\0") + archive(member("a", b"1"))

    assert lay(root, layer) == {"a": "1"}


def headers_in_memory() -> int:
    gc.collect()
    return sum(isinstance(each, tarfile.TarInfo) for each in gc.get_objects())


def test_archive_keeps_no_used_header(root: Path) -> None:
    class Counting(RootFs):
        headers = 0

        def add_directory(self, path: str, mode: int) -> None:
            self.headers = headers_in_memory() if path == "last" else 0

    content = archive(*(directory(f"d{number}") for number in range(50)), directory("last"))
    before = headers_in_memory()
    tree = Counting(root, Proc(0), Limits())
    unpack(pieces(content), tree, Proc(0))

    assert before < tree.headers < before + 10


@pytest.mark.parametrize(
    "made",
    [lambda number: directory(f"d{number}"), member, lambda number: symlink(f"l{number}", "x")],
    ids=["directories", "files", "links"],
)
def test_image_with_too_many_files_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[..., Any]
) -> None:
    monkeypatch.setattr(limits, "MOST_ENTRIES", 100)
    half = archive(*(made(str(number)) for number in range(60)))
    lay(root, half)

    with pytest.raises(LimitError, match=r"^it has more than 100 files and directories: split it$"):
        lay(root.parent, half, archive(*(made(f"x/{number}") for number in range(60))))


def test_link_to_too_long_path_is_refused(root: Path) -> None:
    with pytest.raises(LayerError, match=r"^has the symbolic link 'a' to a path of 5000 characters$"):
        lay(root, archive(symlink("a", "x" * 5000)))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_file_of_negative_size_is_refused(root: Path, form: Literal[1, 2]) -> None:
    """The whole rest of the layer would be read into memory. For tarfile of Python 3.14 the archive may end there."""
    negative = member("a", b"x" * 100, pax_headers={"size": "-1"})
    if form == tarfile.GNU_FORMAT:
        negative[0].size = -1
    with contextlib.suppress(LayerError):
        assert lay(root, negative[0].tobuf(form) + b"x" * 10_000) == {}


def test_names_are_counted_by_their_resolved_length(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path of three letters can lead through a link to a path of thousands."""
    monkeypatch.setattr(limits, "MOST_ENTRIES", 500)
    deep = "/".join(["d" * 200] * 10)
    with pytest.raises(LimitError, match=r"^it has more than 500 files and directories: split it$"):
        lay(root, archive(directory(deep), symlink("a", deep), *(symlink(f"a/{number}", "x") for number in range(100))))


def test_cancel_ends_reading_of_a_hole(root: Path) -> None:
    """A few bytes of an archive can mean a sparse file of a terabyte."""
    proc = Proc(0)
    hole = member("sparse", pax_headers={"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 40)})
    layer = hole[0].tobuf(tarfile.PAX_FORMAT) + bytes(1024)

    def cancel() -> None:
        while not (root / "sparse").exists() or not (root / "sparse").stat().st_size:
            """It is not being written yet."""
        proc.cancel()

    cancelling = threading.Thread(target=cancel)
    cancelling.start()
    with pytest.raises(StoppedError):
        unpack(pieces(layer), RootFs(root, proc, Limits(2 << 40)), proc)
    cancelling.join()


@pytest.mark.parametrize("made", [directory, member, partial(symlink, target="x")], ids=["directory", "file", "link"])
def test_tree_with_too_many_levels_is_refused(root: Path, made: Callable[..., Any]) -> None:
    """A tree that is deeper than a search of it can go is refused."""
    with pytest.raises(LayerError, match=r"^has more than 256 directories in one another, 'd' the last$"):
        lay(root, archive(made("/".join(["d"] * 300))))
