"""A live server is asked anything in any order, by callers that die, and loses its own worker: it is never wrong."""

from __future__ import annotations

import itertools
import random
import sys
import time

import pytest
from tests.support.live import Live, steps

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there two processes watch each other")


def test_a_live_server_is_never_wrong_and_leaves_nothing(
    live_seconds: float, live_seed: int | None, temporary: str
) -> None:
    """Never a status that cannot be, never a part of a log, never a process, descriptor or file too many."""
    seed = random.randrange(1 << 32) if live_seed is None else live_seed
    live, until = Live(temporary), time.monotonic() + live_seconds
    try:
        live.begin()
        for step in itertools.takewhile(lambda _: time.monotonic() < until, steps(seed)):
            live.take(step)
        live.end()
    except Exception as error:
        scene, told = "\n".join(live.scene()), live.abandon()
        again = f"pytest {__file__} --live-seconds {live_seconds:g} --live-seed {seed}"
        raise AssertionError(
            f"{error!r} in step {live.steps} of seed {seed}:\n{scene}\n"
            f"the server has told:\n{told}\nthe same steps again: {again}"
        ) from error


def test_the_steps_are_told_by_the_seed() -> None:
    first, second = (list(itertools.islice(steps(7), 100)) for _ in range(2))
    assert first == second
    assert len(set(first)) > 50
