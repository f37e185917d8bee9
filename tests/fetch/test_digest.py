"""A digest is right whichever thread calculates it."""

from __future__ import annotations

import hashlib
import threading
from typing import NoReturn

import pytest

from step_runner.fetch.oci.digest import hashing

LONG = [bytes([number]) * (1 << 20) for number in range(4)]
MIXED = [b"short", *LONG, b"", b"short again", LONG[0]]


@pytest.mark.parametrize("pieces", [[], [b"short"], LONG, MIXED], ids=["none", "short", "long", "mixed"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_digest_is_that_of_all_pieces(algorithm: str, pieces: list[bytes]) -> None:
    with hashing(algorithm) as digest:
        for piece in pieces:
            digest.update(piece)

        assert digest.hexdigest() == hashlib.new(algorithm, b"".join(pieces)).hexdigest()


def test_digest_needs_no_second_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user may have reached the limit of processes, which counts threads."""

    def start(_thread: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with hashing("sha256") as digest:
        for piece in LONG:
            digest.update(piece)

        assert digest.hexdigest() == hashlib.sha256(b"".join(LONG)).hexdigest()


def test_helper_ends_with_the_block() -> None:
    with hashing("sha256") as digest:
        digest.update(LONG[0])
        assert any(thread.name.startswith("digest") for thread in threading.enumerate())

    assert not any(thread.name.startswith("digest") for thread in threading.enumerate())
