"""A live server keeps its promises under random requests, killed clients and the death of its own worker."""

from __future__ import annotations

import itertools
import random
import sys
import time

import pytest
from tests.support.live import Live, steps

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux has the server two processes")


def test_live_server_keeps_its_promises_and_leaves_nothing(
    live_seconds: float, live_seed: int | None, temporary: str
) -> None:
    """It never reports an impossible status or a part of a log, and leaks no process, descriptor or file."""
    seed = random.randrange(1 << 32) if live_seed is None else live_seed
    live, until = Live(temporary), time.monotonic() + live_seconds
    try:
        live.begin()
        for step in itertools.takewhile(lambda _: time.monotonic() < until, steps(seed)):
            live.take(step)
        live.end()
    except Exception as error:
        scene, errors = "\n".join(live.scene()), live.abandon()
        again = f"pytest {__file__} --live-seconds {live_seconds:g} --live-seed {seed}"
        raise AssertionError(
            f"{error!r} in step {live.steps} of seed {seed}:\n{scene}\n"
            f"stderr of the server:\n{errors}\nto repeat the steps: {again}"
        ) from error


def test_steps_depend_only_on_seed() -> None:
    first, second = (list(itertools.islice(steps(7), 100)) for _ in range(2))
    assert first == second
    assert len(set(first)) > 50
