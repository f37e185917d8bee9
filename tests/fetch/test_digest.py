"""A digest is right whichever thread calculates it."""

from __future__ import annotations

import hashlib
import threading
from contextlib import closing
from typing import NoReturn

import pytest

from step_runner.fetch.oci.digest import hashed

LONG = [bytes([number]) * (1 << 20) for number in range(4)]
MIXED = [b"short", *LONG, b"", b"short again", LONG[0]]


def check(algorithm: str, pieces: list[bytes]) -> None:
    """Hash the pieces, each of which passes unchanged."""
    hash_ = hashlib.new(algorithm)
    assert list(hashed(pieces, hash_)) == pieces
    assert hash_.hexdigest() == hashlib.new(algorithm, b"".join(pieces)).hexdigest()


@pytest.mark.parametrize("pieces", [[], [b"short"], LONG, MIXED], ids=["none", "short", "long", "mixed"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_digest_is_that_of_all_pieces(algorithm: str, pieces: list[bytes]) -> None:
    check(algorithm, pieces)


def test_digest_needs_no_second_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user may have reached the limit of processes, which counts threads."""

    def start(_thread: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    check("sha256", LONG)


def test_helper_ends_with_an_abandoned_stream() -> None:
    with closing(hashed(LONG, hashlib.sha256())) as pieces:
        next(pieces)
        assert any(thread.name.startswith("digest") for thread in threading.enumerate())

    assert not any(thread.name.startswith("digest") for thread in threading.enumerate())
