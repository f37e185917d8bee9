"""Layers are decompressed whatever parts, pieces and zeros they come in."""

from __future__ import annotations

import gzip
import random
import sys
from typing import TYPE_CHECKING

import pytest

from step_runner.fetch.oci.compression import decompressed

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20

forms = pytest.mark.parametrize("compress", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    yield from (content[start : start + size] for start in range(0, len(content), size))


@forms
@pytest.mark.parametrize("size", [7, 64, 1000, 1 << 16, 2 * MIB])
def test_parts_may_have_any_length(compress: Callable[[bytes], bytes], size: int) -> None:
    """A part may be longer or shorter than a piece, end with it, and be followed by zeros."""
    source = random.Random(size)
    contents = [source.randbytes(length) for length in (0, 1, 3000, 40, 200_000, 0, 70_000, 5)]
    layer = b"".join(compress(content) + bytes(source.randrange(40)) for content in contents)

    assert b"".join(decompressed(pieces(layer, size))) == b"".join(contents)


@forms
def test_short_parts_do_not_slow_each_other_down(compress: Callable[[bytes], bytes]) -> None:
    """The rest of a piece is not copied for each part in it: 50,000 parts would copy 25 GB."""
    layer = compress(b"file") * 50_000

    assert b"".join(decompressed(iter([layer]))) == b"file" * 50_000


@forms
def test_few_bytes_become_many_in_small_pieces(compress: Callable[[bytes], bytes]) -> None:
    layer = compress(bytes(64 * MIB))
    assert len(layer) < MIB // 8

    sizes = list(map(len, decompressed(iter([layer]))))

    assert (sum(sizes), max(sizes)) == (64 * MIB, MIB)


@forms
def test_content_that_is_cut_off_is_an_error(compress: Callable[[bytes], bytes]) -> None:
    with pytest.raises(EOFError, match=r"^the compressed content is cut off$"):
        list(decompressed(iter([compress(b"content")[:-3]])))
