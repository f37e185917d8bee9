"""Unpacking the layers of an image: tar archives, compressed or not.

The rules of whiteouts are those of layer.md in the OCI image specification 1.1.
"""

from __future__ import annotations

import io
import re
import sys
import tarfile
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from step_runner.fetch.oci.read_ahead import ReadAhead
from step_runner.fetch.oci.rootfs import LayerError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from step_runner.fetch.cancellation import Cancellation
    from step_runner.fetch.limits import Limits
    from step_runner.fetch.oci.rootfs import Tree

_PIECE = 1 << 20  # bytes
_LARGEST_HEADERS = 2 << 20  # bytes in front of one file, which tarfile keeps in memory
_MOST_DIGITS = 300  # in a row, more than a name can have
_LARGEST_WINDOW = 28
"""The power of two of bytes that a zstd stream may refer back to, in memory: 256 MiB, as `zstd --long=28` has it."""

_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # a frame, or one to skip: RFC 8878, section 3.1
_GZIP = b"\x1f\x8b"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


def unpack(
    layer: io.RawIOBase, tree: Tree, cancellation: Cancellation, abandon: Callable[[], None] = lambda: None
) -> None:
    """Lay a layer over what is in the tree. Devices and pipes are left out.

    LayerError: it is no archive, or would write outside. StoppedError: cancelled. What reading raises passes through.
    Where it raises before the layer's end, it calls `abandon`, which has whoever reads the layer give up.
    """
    tree.begin_layer()
    with _understood(), ReadAhead(layer, abandon) as ahead:
        stream = _decompressed(ahead)
        if not stream.peek(1):
            return
        forward = _Forward(stream, cancellation, tree.limits)
        with tarfile.TarFile(fileobj=cast("IO[bytes]", forward), tarinfo=_Header) as archive:
            while member := archive.next():
                # tarfile keeps every member, for random access: a hundred thousand take 100 MB.
                archive.members.clear()  # type: ignore[attr-defined]
                with forward.content():
                    _apply(member, archive, tree, cancellation)


def _apply(member: tarfile.TarInfo, archive: tarfile.TarFile, tree: Tree, cancellation: Cancellation) -> None:
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
        tree.add_file(member.name, member.mode, _content(member, archive, cancellation), member.size)


def _content(member: tarfile.TarInfo, archive: tarfile.TarFile, cancellation: Cancellation) -> IO[bytes]:
    """What is in a file; the archive stands at its beginning, and only a sparse file is not as it stands there."""
    content = cast("IO[bytes]", archive.extractfile(member) if member.issparse() else archive.fileobj)
    return cast("IO[bytes]", _Sparse(content, cancellation)) if member.issparse() else content


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
    head = stream.peek(4)
    if _ZSTD.match(head):
        return io.BufferedReader(_Decompressed(stream, _zstd_decompressor), _PIECE)
    if head.startswith(_GZIP):
        return io.BufferedReader(_Decompressed(stream, _GzipDecompressor), _PIECE)
    return stream


class _Decompressor(Protocol):
    """What takes compressed bytes as they come; both formats allow several parts behind each other."""

    @property
    def eof(self) -> bool:
        """Whether the end of the part was reached."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more can be given without more bytes."""

    @property
    def unused_data(self) -> bytes:
        """What came behind the end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take bytes and give at most so many."""


def _zstd_decompressor() -> _Decompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _LARGEST_WINDOW})


class _GzipDecompressor:
    """zlib's decompressor for gzip, in the manner of that for zstd."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


class _Decompressed(io.RawIOBase):
    """What is in a compressed stream, read in larger pieces than the readers of the standard library take."""

    def __init__(self, source: io.BufferedReader[Any], make: Callable[[], _Decompressor]) -> None:
        self._source = source
        self._make = make
        self._part = make()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while True:
            given = self._next() if self._part.eof or self._part.needs_input else b""
            if given is None:
                return 0
            if piece := self._part.decompress(given, len(buffer)):
                buffer[: len(piece)] = piece
                return len(piece)

    def _next(self) -> bytes | None:
        """The bytes to go on with, None at the end. EOFError: it comes too early."""
        if not self._part.eof:
            given: bytes = self._source.read1(_PIECE)
            if not given:
                raise EOFError("it ends in the middle")
            return given
        # Behind the last part tools may fill up with zeros.
        given = self._part.unused_data.lstrip(b"\0")
        while not given:
            piece = self._source.read1(_PIECE)
            if not piece:
                return None
            given = piece.lstrip(b"\0")
        self._part = self._make()
        return given


class _Forward:
    """A stream that tarfile takes for a file: it asks for places in their order, and skips what it does not need.

    What it reads otherwise are headers, of which it keeps as many as there are in front of one file.
    """

    def __init__(self, stream: io.BufferedReader[Any], cancellation: Cancellation, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._cancellation = cancellation
        self._position = 0
        self._headers = 0
        self._in_content = False

    def read(self, size: int = -1) -> bytes:
        if not self._in_content:
            self._headers += size
            if self._headers > _LARGEST_HEADERS:
                raise LayerError(f"has more than {_LARGEST_HEADERS >> 20} MiB of headers in front of one file")
        content = self._next(size)
        if not self._in_content and len(content) > tarfile.BLOCKSIZE:
            _check_digits(content)
        return content

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        self._limits.take_bytes(max(0, position - self._position))
        while self._position < position and self._next(min(_PIECE, position - self._position)):
            pass
        return self._position

    @contextmanager
    def content(self) -> Iterator[None]:
        """Inside of the block a file is read, of any size; behind it come the headers of the next one."""
        self._in_content = True
        yield
        self._in_content = False
        self._headers = 0

    def _next(self, size: int) -> bytes:
        # A few bytes from the registry can become gigabytes.
        self._cancellation.check()
        content: bytes = self._stream.read(size)
        self._position += len(content)
        return content


class _Sparse:
    """A sparse file, whose holes can be gigabytes of which nothing is in the archive."""

    def __init__(self, content: IO[bytes], cancellation: Cancellation) -> None:
        self._content = content
        self._cancellation = cancellation

    def read(self, size: int) -> bytes:
        self._cancellation.check()
        return self._content.read(size)


class _Header(tarfile.TarInfo):
    """A header that stands for one file alone, and whose size can be read."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Header:
        # What a global header says of all files behind it, engines for containers ignore; tarfile gathers it.
        archive.pax_headers.clear()  # type: ignore[attr-defined]
        return super().fromtarfile(archive)

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0:
            raise LayerError(f"has a header of {header.size} bytes")
        return header


def _check_digits(headers: bytes) -> None:
    """LayerError: tarfile would look for a length in them in a time that grows with the square of the digits."""
    # So it does up to Python 3.11.9 and 3.12.5, without letting any other thread run.
    if any(len(digits[0]) > _MOST_DIGITS for digits in re.finditer(rb"\d+", headers)):
        raise LayerError(f"has a header with more than {_MOST_DIGITS} digits in a row")


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except zstd.ZstdError as error:
        if "too much memory" not in str(error):
            raise _no_archive(error) from None
        window = f"{1 << _LARGEST_WINDOW - 20} MiB (zstd --long={_LARGEST_WINDOW})"
        raise LayerError(f"has a zstd window of more than {window}") from None
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise _no_archive(error) from None


def _no_archive(error: Exception) -> LayerError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return LayerError(f"is no tar archive, alone or in zstd or gzip ({reason})")
