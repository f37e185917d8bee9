"""A stream that is read before its bytes are asked for."""

from __future__ import annotations

import io
import threading
from contextlib import closing

import pytest

from step_runner.fetch.oci.read_ahead import PIECE, ReadAhead


class Source(io.RawIOBase):
    """Gives pieces of 1 MiB, as many as there are, and tells how many it has given."""

    def __init__(self, pieces: int, error: Exception | None = None) -> None:
        self.left = pieces
        self.given = 0
        self.full = threading.Event()
        self._error = error

    def read(self, size: int = -1) -> bytes:
        if not self.left and self._error:
            raise self._error
        if not self.left:
            return b""
        self.left -= 1
        self.given += 1
        if self.given == 5:
            self.full.set()
        return bytes([self.given]) * size


def test_bytes_come_in_their_order_and_then_the_end() -> None:
    with closing(ReadAhead(Source(20))) as stream:
        assert stream.read() == b"".join(bytes([number]) * PIECE for number in range(1, 21))
        assert stream.read(10) == b""


def test_no_more_is_read_than_a_few_pieces() -> None:
    source = Source(20)
    with closing(ReadAhead(source)) as stream:
        assert source.full.wait(10)
        assert stream.read(1) == b"\1"
    assert source.given <= 7


def test_error_is_raised_where_the_bytes_would_have_come() -> None:
    with closing(ReadAhead(Source(2, OSError("broken")))) as stream:
        assert len(stream.read(PIECE) or b"") == PIECE
        assert len(stream.read(PIECE) or b"") == PIECE
        with pytest.raises(OSError, match="broken"):
            stream.read(1)
        assert stream.read(1) == b""


class Slow(io.RawIOBase):
    """Gives one piece, and the next when it is told to."""

    def __init__(self) -> None:
        self.told = threading.Event()
        self._pieces = iter([b"first", b"second"])

    def read(self, size: int = -1) -> bytes:
        piece = next(self._pieces, b"")
        if piece == b"second":
            self.told.wait()
        return piece


def test_stream_is_told_to_give_up_where_its_reader_fails_before_the_end() -> None:
    def use(stream: ReadAhead) -> None:
        assert stream.read(5) == b"first"
        raise RuntimeError("no use")

    slow = Slow()
    with pytest.raises(RuntimeError, match="no use"), ReadAhead(slow, slow.told.set) as stream:
        use(stream)


def test_stream_that_has_ended_is_not_told_to_give_up() -> None:
    told = threading.Event()
    with pytest.raises(OSError, match="broken"), ReadAhead(Source(0, OSError("broken")), told.set) as stream:
        stream.read(1)

    assert not told.is_set()


def test_closing_ends_the_thread() -> None:
    stream = ReadAhead(Source(20))
    stream.close()

    assert "read ahead" not in [thread.name for thread in threading.enumerate()]
