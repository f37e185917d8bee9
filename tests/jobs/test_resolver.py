"""Functions on other machines, as jobs call them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.absent import absent
from tests.support.images import HERE, archive, member, push
from tests.support.steps import run_list

from step_runner.fetch.cache import default_root
from step_runner.fetch.oci.credentials import Credentials
from step_runner.model import ErrorKind, RunRequest, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.registry import RegistryServer

    from step_runner.jobs.manager import JobManager

FUNCTION = "{}\n---\nexec: {command: [cat, '${{ func_dir }}/greeting']}\n"


@pytest.fixture
def git_repository(tmp_path: Path) -> str:
    """Return a local repository whose root is a function."""
    if shutil.which("git") is None:
        absent("git")
    (tmp_path / "func.yml").write_text(FUNCTION)
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
    """Yield a server that accepts connections and never answers; the event reports the first connection."""
    connected = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        connected.set()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"{host}:{port}", connected
    for writer in writers:
        writer.close()
    server.close()
    await server.wait_closed()


async def run(manager: JobManager, *steps: dict[str, Any]) -> bytes:
    """Run a job of these steps to its end, and return its log."""
    await manager.run(RunRequest(id="1", steps=run_list(*steps), work_dir=os.environ["TMPDIR"]))
    return b"".join([chunk async for chunk in manager.follow("1", 0)])


def greet_by_git(url: str) -> dict[str, Any]:
    return {"name": "greet", "func": {"git": {"url": url, "rev": "main"}}}


async def test_function_of_git_repository_is_fetched_and_run(
    manager: JobManager, git_repository: str, temporary: str
) -> None:
    log = await run(manager, greet_by_git(git_repository))
    assert log == b"Running step name=greet\nhello from git\n"
    assert manager.status("1").status is Status.SUCCESS


async def test_damaged_cache_entry_is_named_for_removal(
    manager: JobManager, git_repository: str, temporary: str
) -> None:
    """After that directory is removed, the function is fetched again."""
    await run(manager, greet_by_git(git_repository))
    (copy,) = (default_root() / "entries").glob("git-commit@*")
    (copy / "func.yml").unlink()
    await manager.close("1")
    await run(manager, greet_by_git(git_repository))
    assert f"remove the copy in the function cache, {copy}, and it is fetched again" in manager.status("1").message
    shutil.rmtree(copy)
    await manager.close("1")
    assert await run(manager, greet_by_git(git_repository)) == b"Running step name=greet\nhello from git\n"


@pytest.mark.parametrize("form", ["short", "long"])
async def test_function_of_registry_is_fetched_and_run(
    manager: JobManager, registry: RegistryServer, repository: str, temporary: str, form: str
) -> None:
    """A function of a registry runs without a step that fetches it."""
    layers = [archive(member("x/hello.yml", FUNCTION.encode())), archive(member("x/greeting", b"hello from OCI\n"))]
    push(registry, repository, "1.0", {HERE: layers})
    short = f"{registry.host}/{repository}:1.0 x/hello.yml"
    parts = {"registry": registry.host, "repository": repository, "tag": "1.0", "dir": "x", "file": "hello.yml"}
    log = await run(manager, {"name": "greet", "func": short if form == "short" else {"oci": parts}})
    assert log == b"Running step name=greet\nhello from OCI\n"


@pytest.mark.parametrize("where", ["step", "earlier step"])
async def test_credentials_come_from_environment_of_step(
    manager: JobManager, closed_registry: RegistryServer, repository: str, temporary: str, where: str
) -> None:
    layers = [archive(member("func.yml", FUNCTION.encode()), member("greeting", b"hello Ada\n"))]
    push(closed_registry, repository, "latest", {HERE: layers}, Credentials("ada", "hunter2"))
    config = json.dumps({"auths": {closed_registry.host: {"username": "ada", "password": "hunter2"}}})
    greet = {"name": "greet", "func": f"{closed_registry.host}/{repository}"}
    if where == "step":
        log = await run(manager, {**greet, "env": {"DOCKER_AUTH_CONFIG": config}})
    else:
        line = json.dumps({"name": "DOCKER_AUTH_CONFIG", "value": config})
        log = await run(manager, {"name": "login", "script": f"echo '{line}' > ${{{{ export_file }}}}"}, greet)
    assert log.endswith(b"Running step name=greet\nhello Ada\n")


async def test_unfetchable_function_fails_step_without_secrets(
    manager: JobManager, closed_registry: RegistryServer, repository: str
) -> None:
    """The message of the failed fetch shows no secret."""
    config = json.dumps({"auths": {closed_registry.host: {"username": "ada", "password": "guess"}}})
    name = f"{closed_registry.host}/{repository}"
    log = await run(manager, {"name": "greet", "func": name, "env": {"DOCKER_AUTH_CONFIG": config}})
    assert manager.status("1").message == (
        f'step "greet": failed to load: {name}:latest: the registry refuses the credentials (HTTP 401);'
        " check DOCKER_AUTH_CONFIG and the user's rights"
    )
    assert b"guess" not in log


async def test_timeout_ends_fetch_and_is_its_reason(
    manager: JobManager, silent_server: tuple[str, asyncio.Event], temporary: str
) -> None:
    """A fetch that runs at the job's timeout is stopped, and the timeout is given as the reason."""
    steps = run_list({"name": "greet", "func": f"{silent_server[0]}/group/x:1"})
    await manager.run(RunRequest(id="1", steps=steps, work_dir=temporary, timeout=2))
    assert [chunk async for chunk in manager.follow("1", 0)] == [b""]
    job = manager.status("1")
    assert (job.status, job.kind) == (Status.CANCELLED, ErrorKind.TIMEOUT)
    assert "the fetch was stopped because the job's timeout was reached" in job.message


@pytest.mark.parametrize("kind", ["git", "oci"])
async def test_cancel_ends_fetch_without_answer(
    manager: JobManager, silent_server: tuple[str, asyncio.Event], temporary: str, kind: str
) -> None:
    address, connected = silent_server
    func = {"git": {"url": f"http://{address}/x", "rev": "main"}} if kind == "git" else f"{address}/group/x:1"
    running = asyncio.create_task(run(manager, {"name": "greet", "func": func}))
    await connected.wait()
    manager.cancel("1")
    async with asyncio.timeout(10):
        log = await running
    job = manager.status("1")
    assert (job.status, job.kind) == (Status.CANCELLED, ErrorKind.CANCELLED)
    assert log == b""
    assert "step-runner" not in os.listdir(temporary), "nothing is cached"
