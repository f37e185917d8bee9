"""Unpacking the layers of an image: tar archives, compressed or not.

The rules of whiteouts are those of layer.md in the OCI image specification 1.1.
"""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import zlib
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from step_runner.fetch.tree import LayerError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from step_runner.fetch.cancellation import Cancellation
    from step_runner.fetch.tree import Tree

_PIECE = 1 << 20  # bytes
_LARGEST_HEADER = 1 << 20  # bytes of extended headers, which tarfile reads into memory
_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


def unpack(layer: io.RawIOBase, tree: Tree, cancellation: Cancellation) -> None:
    """Lay a layer over what is in the tree. Devices and pipes are left out.

    LayerError: it is no archive, or would write outside. StoppedError: cancelled. What reading raises passes through.
    """
    tree.begin_layer()
    with _understood(), closing(_decompressed(layer)) as stream:
        if not stream.peek(1):
            return
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_PIECE, tarinfo=_Header) as archive:
            while member := archive.next():
                cancellation.check()
                # tarfile keeps every member, for random access: a hundred thousand take 100 MB.
                archive.members.clear()  # type: ignore[attr-defined]
                _apply(member, archive, tree)


def _apply(member: tarfile.TarInfo, archive: tarfile.TarFile, tree: Tree) -> None:
    directory, _, name = member.name.rstrip("/").rpartition("/")
    if name.startswith(_WHITEOUT):
        _white_out(directory, name, tree)
    elif member.isdir():
        tree.add_directory(member.name, member.mode)
    elif member.issym():
        tree.add_link(member.name, member.linkname)
    elif member.islnk():
        tree.add_hard_link(member.name, member.linkname)
    elif member.isreg():
        content = archive.extractfile(member)
        assert content is not None
        tree.add_file(member.name, member.mode, content, member.size)


def _white_out(directory: str, name: str, tree: Tree) -> None:
    if name == _OPAQUE:
        tree.clear(directory)
    elif not name.startswith(_WHITEOUT * 2):
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in ("", ".", ".."):
            raise LayerError(f'has the whiteout "{name}", which names no file')
        tree.remove(f"{directory}/{hidden}")


def _decompressed(layer: io.RawIOBase) -> io.BufferedReader[Any]:
    """The archive in a layer, whose first bytes say how it is compressed."""
    stream = io.BufferedReader(layer, _PIECE)
    head = stream.peek(len(_ZSTD))
    if head.startswith(_ZSTD):
        return io.BufferedReader(zstd.ZstdFile(stream), _PIECE)
    if head.startswith(_GZIP):
        return io.BufferedReader(gzip.GzipFile(fileobj=stream), _PIECE)
    return stream


class _Header(tarfile.TarInfo):
    """A header that is refused where tarfile would read too much of the archive into memory for it."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if not header.isreg() and not header.isdir() and header.size > _LARGEST_HEADER:
            raise LayerError(f"has a header of {header.size} bytes")
        return header


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zstd.ZstdError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise LayerError(f"is no tar archive, alone or in zstd or gzip ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
