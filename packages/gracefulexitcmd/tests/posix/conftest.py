"""A process group and its container."""

from __future__ import annotations

import select
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from gracefulexitcmd import ManualContainer
from gracefulexitcmd.posix import process_group

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def joined() -> Iterator[None]:
    """Wait for the threads of the leaders at the end of the test."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("wait for"):
            thread.join()


@pytest.fixture
def container() -> Iterator[ManualContainer]:
    """Return the container of the group."""
    made = ManualContainer()
    yield made
    made.close()


@pytest.fixture
def group(joined: None, path: str, container: ManualContainer) -> Iterator[process_group.Group]:
    """Yield the group of a process that waits for input."""
    process = subprocess.Popen(["cat", "-u"], process_group=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"ready")
    process.stdout.read(5)
    opened = process_group.Group(process)
    container.started(opened.pid)
    yield opened
    if process.returncode is None:
        process.kill()
        select.select([opened.exit_descriptor], [], [])
        opened.collect()
    opened.close()
    process.stdin.close()
    process.stdout.close()
