"""A manager of jobs in this process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from step_runner.jobs.manager import JobManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def manager(temporary: str) -> AsyncIterator[JobManager]:
    """Yield a manager whose jobs have a grace period of 20 s. Check at the end that it leaves nothing of its jobs."""
    made = JobManager(20, os.environ)
    yield made
    await made.shut_down()
    assert [name for name in os.listdir(temporary) if name.startswith("step-runner-")] == []
