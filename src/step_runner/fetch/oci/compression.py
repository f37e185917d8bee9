"""Decompresses a layer: gzip and zstd, each in any number of parts.

The classes of files in the standard library and backports.zstd read 8 KiB at a time, which takes a third of a fetch.
"""

from __future__ import annotations

import re
import sys
import zlib
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Buffer

    _Part = TypeVar("_Part", zstd.ZstdDecompressor, zlib._Decompress)

LARGEST_WINDOW = 28
"""Largest window of a zstd stream, as a power of two: 256 MiB of memory, as with `zstd --long=28`."""

ERRORS = (zstd.ZstdError, zlib.error, EOFError)
"""The errors of an iterator that `decompressed` returns, besides those of its pieces."""

_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # a frame, or one to skip: RFC 8878, section 3.1
_GZIP = b"\x1f\x8b"
_GZIP_FORMAT = 16 + zlib.MAX_WBITS  # inflateInit2 in zlib.h
_LEAST_GIVEN = 1 << 14  # bytes at once: what follows the end of a part is copied, and parts may be short
_MOST_GIVEN = 1 << 20  # bytes at once, in a long part
_MOST_TAKEN = 1 << 20  # bytes at once: a few compressed bytes can become gigabytes


def decompressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the content of a layer, whose first piece shows the compression.

    Raise one of `ERRORS` if it is not valid.
    """
    first = next(pieces, b"")
    layer = chain([first], pieces)
    if _ZSTD.match(first):
        options: Any = {zstd.DecompressionParameter.window_log_max: LARGEST_WINDOW}
        return _content(layer, partial(zstd.ZstdDecompressor, options=options), _from_zstd)
    return _content(layer, partial(zlib.decompressobj, _GZIP_FORMAT), _from_gzip) if first.startswith(_GZIP) else layer


def _content(
    pieces: Iterator[bytes], begin: Callable[[], _Part], output: Callable[[_Part, Buffer], Iterator[bytes]]
) -> Iterator[bytes]:
    part, size = None, _LEAST_GIVEN
    for piece in pieces:
        position = 0
        while position < len(piece):
            given: Buffer = memoryview(piece)[position : position + size]
            position += size
            # Zeros may follow a part, as on a tape.
            if part or (given := bytes(given).lstrip(b"\0")):
                part, size = part or begin(), min(2 * size, _MOST_GIVEN)
                yield from output(part, given)
                if part.eof:
                    position = min(position, len(piece)) - len(part.unused_data)
                    part, size = None, _LEAST_GIVEN
    if part:
        raise EOFError("the compressed content is cut off")


def _from_zstd(part: zstd.ZstdDecompressor, given: Buffer) -> Iterator[bytes]:
    yield part.decompress(given, _MOST_TAKEN)
    while not (part.eof or part.needs_input):
        yield part.decompress(b"", _MOST_TAKEN)


def _from_gzip(part: zlib._Decompress, given: Buffer) -> Iterator[bytes]:
    yield part.decompress(given, _MOST_TAKEN)
    while part.unconsumed_tail:
        yield part.decompress(part.unconsumed_tail, _MOST_TAKEN)
