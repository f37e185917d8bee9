"""Layers merged in one directory, with nothing written outside."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
from tests.support.images import SPARSE_MAP, archive, directory, hard_link, member, sparse, symlink
from tests.support.layers import lay, outside, pieces, shape

from step_runner.errors import StoppedError
from step_runner.fetch.limits import Limits
from step_runner.fetch.oci import rootfs
from step_runner.fetch.oci.layers import unpack
from step_runner.fetch.oci.rootfs import LayerError, RootFs
from step_runner.proc import Proc

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "outside" / "root"
    path.mkdir(parents=True)
    return path


# Forms


PLAIN = archive(member("a", b"one" * 10), directory("d"), member("d/b", b"two"))


@pytest.mark.parametrize(
    "form",
    [
        lambda content: content,
        lambda content: gzip.compress(content),
        lambda content: zstd.compress(content),
        lambda content: gzip.compress(content[:700]) + gzip.compress(content[700:]) + bytes(5000),
        lambda content: zstd.compress(content[:700]) + zstd.compress(content[700:]),
    ],
    ids=["tar", "gzip", "zstd", "gzip in two parts and zeros", "zstd in two parts"],
)
def test_layer_compression_is_detected_by_content(root: Path, form: Callable[[bytes], bytes]) -> None:
    assert lay(root, form(PLAIN)) == {"a": "one" * 10, "d/b": "two"}


@pytest.mark.parametrize(
    "layer", [b"", gzip.compress(b""), zstd.compress(b""), archive()], ids=["none", "gzip", "zstd", "tar"]
)
def test_empty_layer_changes_nothing(root: Path, layer: bytes) -> None:
    assert lay(root, PLAIN, layer) == {"a": "one" * 10, "d/b": "two"}


@pytest.mark.parametrize(
    "layer",
    [
        b"what is this",
        b"\x1f\x8bgarbage that is no gzip",
        b"\x28\xb5\x2f\xfdgarbage that is no zstd",
        gzip.compress(PLAIN)[:60],
        zstd.compress(PLAIN)[:60],
        gzip.compress(b"not a tar archive" * 100),
        bytes(range(256)) * 8,
    ],
    ids=["text", "false gzip", "false zstd", "cut gzip", "cut zstd", "text in gzip", "bytes"],
)
def test_layer_without_archive_is_refused(root: Path, layer: bytes) -> None:
    with pytest.raises(LayerError, match=r"^is not a tar archive, plain or in zstd or gzip \(.+\)$"):
        lay(root, layer)


def test_truncated_archive_is_refused(root: Path) -> None:
    with pytest.raises(LayerError, match=r"^ends in the middle of 'a'$"):
        lay(root, archive(member("a", b"x" * 2000))[:1000])


def test_long_names_of_both_formats_are_read(root: Path) -> None:
    name = "d" * 120 + "/" + "f" * 120
    layers = []
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=form) as tar:
            tar.addfile(member(f"{form}/{name}", b"x")[0], io.BytesIO(b"x"))
        layers.append(file.getvalue())

    assert lay(root, *layers) == {f"{tarfile.GNU_FORMAT}/{name}": "x", f"{tarfile.PAX_FORMAT}/{name}": "x"}


def test_sparse_file_keeps_its_holes(root: Path) -> None:
    """The archive holds the bytes that GNU tar writes for a file of 1 MiB with one word at its end."""
    content = b"end".rjust(512, b".")
    lay(root, sparse(b"%011o\0%011o\0" % (1048576 - 512, 512), 1048576) + content + archive(member("behind", b"x")))

    assert (root / "sparse").read_bytes() == bytes(1048576 - 512) + content
    assert (root / "behind").read_text() == "x"


def test_sparse_file_of_many_chunks_keeps_its_holes(root: Path) -> None:
    """GNU tar's older format lists the chunks in a block of its own; its newer format differs."""
    chunk = b"%011o\0%011o\0" % (1024, 1)
    older = sparse(b"\0" * 96 + b"\1", 1025) + chunk.ljust(512, b"\0") + b"x".ljust(512, b"\0")
    newer = member("newer", b"1\n1024\n1\n".ljust(512, b"\0") + b"x", pax_headers=SPARSE_MAP)
    lay(root, older + archive(newer))

    assert (root / "sparse").read_bytes() == (root / "newer").read_bytes() == bytes(1024) + b"x"


# Later layers win


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        ([member("a", b"1")], [member("a", b"2")], {"a": "2"}),
        ([member("a", b"1")], [member("a/b", b"2")], {"a/b": "2"}),
        ([member("a", b"1")], [directory("a")], {"a": "/"}),
        ([member("a/b", b"1")], [member("a", b"2")], {"a": "2"}),
        ([member("a/b", b"1")], [directory("a")], {"a/b": "1"}),
        ([member("a/b", b"1")], [member("a/c", b"2")], {"a/b": "1", "a/c": "2"}),
        ([symlink("a", "b")], [member("a", b"2")], {"a": "2"}),
        ([symlink("a", "b"), member("b/x", b"1")], [directory("a")], {"a": "/", "b/x": "1"}),
        ([symlink("a", "b"), member("b/x", b"1")], [member("a/y", b"2")], {"a": "-> b", "b/x": "1", "b/y": "2"}),
        ([member("a", b"1")], [symlink("a", "b")], {"a": "-> b"}),
        ([member("a/b", b"1"), symlink("a/l", "b")], [symlink("a", "c")], {"a": "-> c"}),
        ([member("a", b"1"), hard_link("b", "a")], [member("a", b"2")], {"a": "2", "b": "1"}),
        ([member("a", b"1")], [hard_link("b", "a")], {"a": "1", "b": "1"}),
        ([member("a", b"1")], [member("b", b"2"), hard_link("b", "a")], {"a": "1", "b": "1"}),
        ([member("a", b"1")], [hard_link("a", "a")], {"a": "1"}),
        (
            [symlink("d/l", "x"), member("d/x", b"1")],
            [hard_link("k", "d/l")],
            {"d/l": "-> x", "d/x": "1", "k": "-> d/x"},
        ),
    ],
    ids=[
        "file over file",
        "directory over file",
        "empty directory over file",
        "file over directory",
        "directory over directory",
        "two in a directory",
        "file over link",
        "directory over link",
        "file through link",
        "link over file",
        "link over directory with a link",
        "file over hard link",
        "hard link to lower",
        "hard link over file",
        "hard link to itself",
        "hard link to link",
    ],
)
def test_later_layer_wins(
    root: Path,
    lower: list[tuple[tarfile.TarInfo, bytes]],
    upper: list[tuple[tarfile.TarInfo, bytes]],
    expected: dict[str, str],
) -> None:
    assert lay(root, archive(*lower), archive(*upper)) == expected


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        ([member("a", b"1"), member("b", b"1")], [member(".wh.a")], {"b": "1"}),
        ([member("d/a", b"1"), member("d/b", b"1")], [member("d/.wh.a")], {"d/b": "1"}),
        ([member("d/a", b"1"), member("b", b"1")], [member(".wh.d")], {"b": "1"}),
        ([symlink("a", "b"), member("b", b"1")], [member(".wh.a")], {"b": "1"}),
        ([symlink("l", "d"), member("d/a", b"1")], [member("l/.wh.a")], {"d": "/", "l": "-> d"}),
        ([member("a", b"1")], [member(".wh.none"), member("none/.wh.none")], {"a": "1"}),
        ([member("a", b"1")], [member("a", b"2"), member(".wh.a")], {"a": "2"}),
        ([member("a", b"1")], [member(".wh.a"), member("a", b"2")], {"a": "2"}),
        ([member("d/a", b"1"), member("e", b"1")], [member("d/.wh..wh..opq")], {"d": "/", "e": "1"}),
        ([member("d/a", b"1")], [member("d/.wh..wh..opq"), member("d/b", b"2")], {"d/b": "2"}),
        ([member("d/a", b"1")], [member("d/b", b"2"), member("d/.wh..wh..opq")], {"d/b": "2"}),
        ([member("d/s/a", b"1")], [member("d/s/b", b"2"), member("d/.wh..wh..opq")], {"d/s/b": "2"}),
        ([member("d/a", b"1"), symlink("d/l", "a")], [member("d/.wh..wh..opq")], {"d": "/"}),
        ([member("a", b"1")], [member(".wh..wh..opq")], {}),
        ([member("a", b"1")], [member(".wh..wh.plnk"), member(".wh..wh.aufs")], {"a": "1"}),
        ([member("a", b"1")], [member("none/.wh..wh..opq")], {"a": "1"}),
    ],
    ids=[
        "file",
        "in a directory",
        "directory",
        "link",
        "through a link",
        "nothing",
        "not its own",
        "then again",
        "opaque",
        "opaque first",
        "opaque last",
        "opaque, deep",
        "opaque with link",
        "opaque root",
        "of aufs",
        "opaque nothing",
    ],
)
def test_whiteout_hides_files_of_lower_layers(
    root: Path,
    lower: list[tuple[tarfile.TarInfo, bytes]],
    upper: list[tuple[tarfile.TarInfo, bytes]],
    expected: dict[str, str],
) -> None:
    assert lay(root, archive(*lower), archive(*upper)) == expected


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh..."])
def test_whiteout_without_a_name_is_refused(root: Path, name: str) -> None:
    with pytest.raises(LayerError, match=r"^has the whiteout \"\.wh\.+\", which does not name a file$"):
        lay(root, archive(member("d/a", b"1")), archive(member(name)))


def test_whiteout_name_may_not_name_a_directory(root: Path) -> None:
    """Until the end of an image its links lead to such names, so no file can be written through them."""
    link, below = symlink("link", "x"), member(".wh.x/file", b"1")
    for layer in (archive(link, below), archive(symlink("other", ".wh.x"), member("other/file", b"1"))):
        with pytest.raises(LayerError, match=r"^has the name '.wh.x', which is reserved for whiteouts$"):
            lay(root, layer)
    assert not (root / "link").exists()


# Modes and kinds


@pytest.mark.parametrize(
    ("mode", "kept"),
    [(0o644, 0o644), (0o755, 0o755), (0o000, 0o400), (0o111, 0o511), (0o4777, 0o755), (0o666, 0o644)],
    ids=oct,
)
def test_file_keeps_its_mode_and_stays_readable(root: Path, mode: int, kept: int) -> None:
    lay(root, archive(member("a", b"x", mode=mode)))

    assert stat.S_IMODE((root / "a").stat().st_mode) == kept


@pytest.mark.parametrize(("mode", "kept"), [(0o755, 0o755), (0o000, 0o700), (0o555, 0o755), (0o1777, 0o755)], ids=oct)
def test_directory_stays_usable_with_any_mode(root: Path, mode: int, kept: int) -> None:
    assert lay(root, archive(directory("d", mode), member("d/a", b"x"))) == {"d/a": "x"}
    assert stat.S_IMODE((root / "d").stat().st_mode) == kept


def test_modes_do_not_depend_on_the_umask(root: Path) -> None:
    before = os.umask(0o077)
    try:
        lay(root, archive(member("d/a", b"x", mode=0o755)))
    finally:
        os.umask(before)

    assert stat.S_IMODE((root / "d/a").stat().st_mode) == 0o755


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE], ids=["char", "block", "pipe"])
def test_devices_and_pipes_are_left_out(root: Path, kind: bytes) -> None:
    assert lay(root, archive(member("dev", type=kind), member("a", b"x"))) == {"a": "x"}


# Nothing outside


@pytest.mark.parametrize("name", ["../x", "a/../../x", "..", "/../x", "d/.."])
@pytest.mark.parametrize(
    "make", [member, directory, lambda name: symlink(name, "a"), lambda name: hard_link(name, "a")]
)
def test_path_leading_upwards_is_refused(
    root: Path, name: str, make: Callable[[str], tuple[tarfile.TarInfo, bytes]]
) -> None:
    with pytest.raises(LayerError, match=r"^has the path '.*', which leads out of the image$"):
        lay(root, archive(member("a", b"1")), archive(make(name)))

    assert outside(root) == ["root"]


def test_absolute_path_means_path_in_image(root: Path) -> None:
    assert lay(root, archive(member("/etc/x", b"1"), member("./y", b"2"))) == {"etc/x": "1", "y": "2"}


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("/etc", "../etc"),
        ("../../../etc", "../etc"),
        ("x/../../../../etc", "../etc"),
        ("/", ".."),
        ("..", ".."),
        ("/../..", ".."),
        ("other", "other"),
        ("./other/../file", "file"),
        ("none/deep", "none/deep"),
    ],
)
def test_symbolic_link_keeps_its_target_in_image(root: Path, target: str, text: str) -> None:
    made = lay(root, archive(symlink("d/link", target), member("d/other/x", b"1"), member("etc/y", b"2")))

    assert made["d/link"] == f"-> {text}"
    assert (root / "d/link").resolve().is_relative_to(root)


@pytest.mark.parametrize("target", ["../..", "/..", "../../root/../..", "../../../../../../../../tmp"])
def test_layer_writes_nothing_through_link_out_of_image(root: Path, target: str) -> None:
    """This holds in the same layer and in later ones; the file is written inside the image."""
    lay(root, archive(symlink("d/out", target), member("d/out/a", b"1")), archive(member("d/out/sub/b", b"2")))

    assert outside(root) == ["root"]
    assert not any(path.resolve() == root.parent for path in root.rglob("*"))


def test_chain_of_links_stays_inside(root: Path) -> None:
    """Each link alone is harmless, but the kernel would follow deep/up to a directory above the root."""
    chain = [symlink("deep", "a/b/c"), symlink("up", "deep/../../../.."), symlink("out", "up/x"), member("a/b/c/f")]
    lay(root, archive(*chain), archive(member("out/y", b"1")))

    assert outside(root) == ["root"]
    assert (root / "up").resolve() == root.resolve()
    assert (root / "x/y").read_text() == "1"


def test_circular_links_are_left_out_and_not_followed(root: Path) -> None:
    circle = archive(symlink("a", "b"), symlink("b", "a"), symlink("self", "self"), symlink("under", "a/x"))

    assert lay(root, circle) == {"a": "-> b", "b": "-> a", "self": "-> self"}
    with pytest.raises(LayerError, match=r"^has a path through more than 40 symbolic links, 'c' in it$"):
        lay(root, archive(symlink("c", "c"), member("c/a/x", b"1")), archive())


def test_link_through_name_reserved_by_system_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows `nul` is a device, even if the next part of the path is `..`; `finish` leaves such links out."""
    monkeypatch.setattr(rootfs, "is_plain", lambda name: name != "nul")
    tree = RootFs(root, Proc(0), Limits())
    tree.add_link("link", "/nul/..")
    with pytest.raises(LayerError, match="which no file of this system can have"):
        tree.add_file("link/file", 0o644, io.BytesIO(b"x").read, 1)
    tree.add_link("other", "nul")
    tree.finish()
    assert (outside(root), list(root.iterdir())) == (["root"], [])


@pytest.mark.parametrize("target", ["../secret", "/../secret", "none", "d"])
def test_hard_link_to_no_file_of_the_image_is_refused(root: Path, target: str) -> None:
    """A hard link to a directory, to a device or out of the image is refused."""
    (root.parent / "secret").write_text("hunter2")

    with pytest.raises(LayerError, match=r"^has the (hard link|path) "):
        lay(root, archive(directory("d"), hard_link("a", target)))


def test_name_with_zero_byte_is_refused(root: Path) -> None:
    info, content = member("a", b"x")
    info.pax_headers = {"path": "a\0b"}

    with pytest.raises(LayerError, match=r"^has the path 'a\\x00b', which leads out of the image$"):
        lay(root, archive((info, content)))


@pytest.mark.parametrize("name", ["", ".", "/", "./"])
def test_file_named_like_the_root_is_refused(root: Path, name: str) -> None:
    with pytest.raises(LayerError, match=r"^has a file without a name$"):
        lay(root, archive(member(name, b"x")))


def test_root_may_be_a_directory(root: Path) -> None:
    assert lay(root, archive(directory("./", 0o000), member("a", b"1"))) == {"a": "1"}


def test_cancel_ends_unpacking_between_two_links(root: Path) -> None:
    proc = Proc(0)
    tree = RootFs(root, proc, Limits())
    unpack(pieces(archive(symlink("a", "b"))), tree, proc)
    proc.cancel()

    with pytest.raises(StoppedError):
        tree.finish()
    assert not (root / "a").exists()


def test_cancel_ends_unpacking_between_two_hidden_files(root: Path) -> None:
    proc = Proc(0)
    tree = RootFs(root, proc, Limits())
    unpack(pieces(archive(member("d/a", b"1"), member("d/b", b"2"))), tree, proc)
    tree.begin_layer()
    proc.cancel()

    with pytest.raises(StoppedError):
        tree.remove("d")
    assert shape(root) == {"d/a": "1", "d/b": "2"}


def test_cancel_ends_unpacking_between_two_files(root: Path) -> None:
    proc = Proc(0)
    proc.cancel()

    with pytest.raises(StoppedError):
        unpack(pieces(PLAIN), RootFs(root, proc, Limits()), proc)


def test_cancel_ends_decompressing_between_two_empty_parts(root: Path) -> None:
    proc = Proc(0)

    def parts() -> Iterator[bytes]:
        yield zstd.compress(b"")
        proc.cancel()
        yield zstd.compress(b"") * 2
        pytest.fail("went on after the cancel")

    with pytest.raises(StoppedError):
        unpack(parts(), RootFs(root, proc, Limits()), proc)


# Forms of zstd


def _skippable(content: bytes = b"size") -> bytes:
    """Return a skippable frame, as pzstd writes one before each frame: RFC 8878, section 3.1.2."""
    return struct.pack("<II", 0x184D2A50, len(content)) + content


def _with_window(content: bytes, log: int) -> bytes:
    """Return the output of `zstd --long=LOG` for a stream of unknown length."""
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: log})
    return compressor.compress(content) + compressor.flush()


def test_layer_may_begin_with_skippable_frame(root: Path) -> None:
    one, two = PLAIN[: len(PLAIN) // 2], PLAIN[len(PLAIN) // 2 :]
    layer = _skippable() + zstd.compress(one) + _skippable() + _skippable(b"") + zstd.compress(two)

    assert lay(root, layer) == {"a": "one" * 10, "d/b": "two"}


def test_layer_may_have_window_of_256_mib(root: Path) -> None:
    assert lay(root, _with_window(PLAIN, 28)) == {"a": "one" * 10, "d/b": "two"}


def test_layer_with_larger_window_is_refused(root: Path) -> None:
    with pytest.raises(LayerError, match=r"^has a zstd window of more than 256 MiB \(zstd --long=28\)$"):
        lay(root, _with_window(PLAIN, 29))
