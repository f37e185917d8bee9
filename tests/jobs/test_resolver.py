"""Functions that are not on this machine, as jobs call them."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.steps import run_list

from step_runner.model import ErrorKind, RunRequest, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from step_runner.jobs.manager import JobManager

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git to make a repository with")


@pytest.fixture
def repository(tmp_path: Path) -> str:
    """A repository on this machine whose root is a function."""
    (tmp_path / "func.yml").write_text("{}\n---\nexec: {command: [cat, '${{ func_dir }}/greeting']}\n")
    (tmp_path / "greeting").write_text("hello from git\n")
    for arguments in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "."],
        ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "--quiet", "--message=Greet"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    return tmp_path.as_uri()


@pytest.fixture
async def silent_server() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A server that takes connections and never answers; the event tells of the first one."""
    connected = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        connected.set()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"http://{host}:{port}/group/project", connected
    for writer in writers:
        writer.close()
    server.close()
    await server.wait_closed()


async def run(manager: JobManager, url: str) -> None:
    steps = run_list({"name": "greet", "func": {"git": {"url": url, "rev": "main"}}})
    await manager.run(RunRequest(id="1", steps=steps, work_dir=os.environ["TMPDIR"]))


async def test_function_of_a_git_repository_is_fetched_and_run(
    manager: JobManager, repository: str, temporary: str
) -> None:
    await run(manager, repository)
    log = b"".join([chunk async for chunk in manager.follow("1", 0)])
    assert log == b"Running step name=greet\nhello from git\n"
    assert manager.status("1").status is Status.SUCCESS
    shutil.rmtree(Path(temporary, "step-runner-cache"))


async def test_cancel_ends_a_fetch_that_gets_no_answer(
    manager: JobManager, silent_server: tuple[str, asyncio.Event], temporary: str
) -> None:
    url, connected = silent_server
    await run(manager, url)
    await connected.wait()
    manager.cancel("1")
    async with asyncio.timeout(10):
        log = b"".join([chunk async for chunk in manager.follow("1", 0)])
    job = manager.status("1")
    assert (job.status, job.kind) == (Status.CANCELLED, ErrorKind.CANCELLED)
    assert log == b""
    assert "step-runner-cache" not in os.listdir(temporary)
