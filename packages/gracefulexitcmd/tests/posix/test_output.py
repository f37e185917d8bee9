"""Reading and writing of pipes without blocking."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gracefulexitcmd.posix.output import BURST, CHUNK, Feed, Pipe, holders

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_reading_takes_available_bytes_without_waiting(pipe: tuple[int, int]) -> None:
    reader = Pipe(pipe[0])
    reader.read()
    assert reader.content == b""
    os.write(pipe[1], b"one\0\xff")
    reader.read()
    os.write(pipe[1], b"two")
    reader.read()
    assert (reader.content, reader.closed) == (b"one\0\xfftwo", False)


def test_end_is_noticed_after_last_bytes(pipe: tuple[int, int]) -> None:
    reader = Pipe(pipe[0])
    os.write(pipe[1], b"last")
    os.close(pipe[1])
    reader.read()
    assert (reader.content, reader.closed) == (b"last", True)


def test_finish_takes_the_rest(pipe: tuple[int, int]) -> None:
    reader = Pipe(pipe[0])
    os.write(pipe[1], b"x" * CHUNK)
    reader.finish()
    assert len(reader.content) == CHUNK
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pipe[0])


def test_single_read_is_bounded(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Pipe(pipe[0])
    monkeypatch.setattr(os, "read", lambda _descriptor, size: b"x" * size)
    reader.read()
    assert len(reader.content) == BURST * CHUNK


def test_feed_continues_after_full_pipe(pipe: tuple[int, int]) -> None:
    content = bytes(range(256)) * 2000
    feed, reader = Feed(pipe[1], content), Pipe(pipe[0])
    assert not feed.write()
    while not feed.write():
        reader.read()
    reader.read()
    assert reader.content == content


def test_single_write_is_bounded(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Feed(pipe[1], b"x" * (BURST * CHUNK + 1))
    monkeypatch.setattr(os, "write", lambda _descriptor, text: len(text))
    assert not feed.write()
    assert feed.write()


def test_empty_feed_ends_at_once(pipe: tuple[int, int]) -> None:
    assert Feed(pipe[1], b"").write()


def test_feed_ends_without_reader(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    assert Feed(pipe[1], b"text").write()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows open files in /proc")
def test_holders_have_the_pipe_open() -> None:
    reader, writer = os.pipe()
    inode = os.fstat(reader).st_ino
    with subprocess.Popen(["sleep", "1000"], pass_fds=(writer,)) as process:
        assert list(holders([inode])) == [process.pid]
        assert list(holders([])) == []
        process.kill()
    assert list(holders([inode])) == []
    os.close(reader)
    os.close(writer)
