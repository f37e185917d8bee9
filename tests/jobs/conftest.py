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
    """A manager whose jobs have 20 s of grace; at the end it is shut down, and nothing of its jobs is left."""
    made = JobManager(20, os.environ)
    yield made
    await made.shut_down()
    assert [name for name in os.listdir(temporary) if name.startswith("step-runner-")] == []
