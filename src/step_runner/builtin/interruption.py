"""The end of this process by SIGTERM, told to work that knows a cancellation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from step_runner.fetch.cancellation import Cancellation

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


def until_exit(work: Callable[[Cancellation], Result]) -> Result:
    """What `work` returns, in a thread of its own; a SystemExit in this one cancels it and waits for its end."""
    # SystemExit, which SIGTERM raises between any two instructions, would meet the work while it cleans up, too.
    cancellation = Cancellation()
    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(work, cancellation).result()
        finally:
            cancellation.cancel()
