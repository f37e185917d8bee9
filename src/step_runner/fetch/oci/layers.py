"""Unpacks the layers of an image: tar archives, compressed or not.

The rules of whiteouts are those of layer.md in the OCI image specification 1.1.
"""

from __future__ import annotations

import re
import tarfile
from contextlib import contextmanager
from itertools import chain
from typing import IO, TYPE_CHECKING, cast

from step_runner.fetch.oci.compression import ERRORS, LARGEST_WINDOW, decompressed
from step_runner.fetch.oci.rootfs import WHITEOUT, LayerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from step_runner.fetch.oci.rootfs import RootFs
    from step_runner.proc import Proc

_LARGEST_HEADERS = 2 << 20  # bytes before one file, which tarfile keeps in memory
_MOST_DIGITS = 300  # in a row, more than a name can have
_OPAQUE = ".wh..wh..opq"


def unpack(layer: Iterator[bytes], root: RootFs, proc: Proc) -> None:
    """Unpack the pieces of a layer over the content of the root file system. Leave out devices and pipes.

    Raise LayerError if it is not an archive or would write outside, and StoppedError. Errors of reading the layer are
    raised unchanged.
    """
    root.begin_layer()
    with _understood():
        pieces = _pieces(decompressed(layer), proc)
        if first := next(pieces, b""):
            _unpack(_Forward(chain([first], pieces), root, proc), root)


def _pieces(content: Iterator[bytes], proc: Proc) -> Iterator[bytes]:
    """Yield the pieces that are not empty. Raise StoppedError, even between parts that are empty when decompressed."""
    for piece in content:
        proc.check()
        if piece:
            yield piece


def _unpack(stream: _Forward, root: RootFs) -> None:
    with tarfile.TarFile(fileobj=cast("IO[bytes]", stream), pax_headers=_Ignored()) as archive:
        while member := archive.next():
            # tarfile keeps every member for random access: 100,000 of them take 100 MB.
            archive.members.clear()  # type: ignore[attr-defined]
            stream.headers_left = None
            _apply(member, archive, stream, root)
            stream.headers_left = _LARGEST_HEADERS


def _apply(member: tarfile.TarInfo, archive: tarfile.TarFile, stream: _Forward, root: RootFs) -> None:
    directory, _, name = member.name.rstrip("/").rpartition("/")
    if name.startswith(WHITEOUT):
        _white_out(directory, name, root)
    elif member.isdir():
        root.add_directory(member.name, member.mode)
    elif member.issym():
        root.add_link(member.name, member.linkname)
    elif member.islnk():
        root.add_hard_link(member.name, member.linkname)
    elif member.isreg():
        if member.size < 0:
            raise LayerError(f"has a file of {member.size} bytes")
        # The archive is at the beginning of the content, and only a sparse file differs from its bytes in the archive.
        sparse = archive.extractfile(member) if member.issparse() else None
        root.add_file(member.name, member.mode, sparse.read if sparse else stream.read_some, member.size)


def _white_out(directory: str, name: str, root: RootFs) -> None:
    if name == _OPAQUE:
        root.clear(directory)
    elif not name.startswith(WHITEOUT * 2):
        hidden = name.removeprefix(WHITEOUT)
        if hidden in ("", ".", ".."):
            raise LayerError(f'has the whiteout "{name}", which does not name a file')
        root.remove(f"{directory}/{hidden}")


class _Forward:
    """A stream that tarfile reads as a file: it only seeks forwards, over bytes that it does not need.

    tarfile reads headers between files, and keeps all headers of one file in memory.
    """

    headers_left: int | None = _LARGEST_HEADERS
    """The bytes of headers that may still follow; None inside a file."""

    def __init__(self, pieces: Iterator[bytes], root: RootFs, proc: Proc) -> None:
        """Begin with the pieces of an archive; none of them is empty."""
        self._pieces = pieces
        self._rest = memoryview(b"")
        self._limits = root.limits
        self._proc = proc
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        if size < 0:  # the whole rest of the layer would be read
            raise LayerError(f"has a file of {size} bytes")
        if self.headers_left is None:
            return self._next(size)
        self.headers_left -= size
        if self.headers_left < 0:
            raise LayerError(f"has more than {_LARGEST_HEADERS >> 20} MiB of headers in front of one file")
        self._proc.check()
        headers = self._next(size)
        # Up to Python 3.11.9 and 3.12.5 tarfile searches them for a length in a time that is quadratic in the number of
        # digits, and no other thread runs meanwhile (CVE-2024-6232).
        if len(headers) > tarfile.BLOCKSIZE and re.search(rb"\d{%d}" % (_MOST_DIGITS + 1), headers):
            raise LayerError(f"has a header with more than {_MOST_DIGITS} digits in a row")
        return headers

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        self._limits.take_bytes(max(0, position - self._position))
        while self._position < position and self.read_some(position - self._position):
            """Go on to the next piece."""
        return self._position

    def read_some(self, size: int) -> memoryview:
        """Return the next bytes without a copy: at most `size`, none at the end."""
        self._rest = self._rest or memoryview(next(self._pieces, b""))
        content, self._rest = self._rest[:size], self._rest[size:]
        self._position += len(content)
        return content

    def _next(self, size: int) -> bytes:
        content = bytes(self.read_some(size))
        while len(content) < size and (more := self.read_some(size - len(content))):
            content += more
        return content


class _Ignored(dict[str, str]):
    """The global headers of an archive, which tarfile would apply to all later files; container engines ignore them."""

    def __setitem__(self, name: str, value: str) -> None:
        """Keep nothing."""


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, *ERRORS) as error:
        if "too much memory" in str(error):
            window = f"{1 << LARGEST_WINDOW - 20} MiB (zstd --long={LARGEST_WINDOW})"
            raise LayerError(f"has a zstd window of more than {window}") from None
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise LayerError(f"is not a tar archive, plain or in zstd or gzip ({reason})") from None
