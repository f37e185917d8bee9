"""A job that exhausts a resource fails with a message that names the resource; the server and other jobs go on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.absent import absent
from tests.support.crowd import Crowd
from tests.support.server import Server
from tests.support.steps import script

from step_runner.errors import StepRunnerError
from step_runner.model import JobStatus, RunRequest, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs the limits and mounts of Linux")

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a file system, or be another user")

USER = 61_000 + os.getpid() % 4000
"""An unused user ID, because RLIMIT_NPROC counts all processes of a user, getrlimit(2)."""


@pytest.fixture
def serve(temporary: str) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*prefix: str) -> Server:
        servers.append(Server(temporary, prefix))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def ended(server: Server, *scripts: str, job_id: str = "1") -> JobStatus:
    """Run a job with these scripts, wait for its end, close it, and return its status."""
    server.start(*scripts, job_id=job_id)
    server.wait_for_end(job_id)
    status = server.client.status(job_id)
    server.client.close(job_id)
    return status


def goes_on(server: Server) -> bool:
    """Return whether the server can still run a job."""
    return ended(server, "echo works", job_id=uuid.uuid4().hex).status is Status.SUCCESS


@needs_root
def test_full_disk_fails_only_its_job(serve: Callable[..., Server], temporary: str) -> None:
    disk = Path(temporary, "disk")
    disk.mkdir()
    mount = 'mount -t tmpfs -o size=200k none "$0" && TMPDIR="$0" exec "$@"'
    server = serve("unshare", "--mount", "sh", "-c", mount, str(disk))
    mounted = f"/proc/{server.runner.worker.pid}/root{disk}"
    for fills in ("head --bytes=1M /dev/zero", 'head --bytes=1M /dev/zero > "${{ output_file }}"'):
        filled = ended(server, fills)
        assert filled.status is Status.FAILURE
        assert filled.message.endswith(f"no space is left on the disk that holds {disk}/step-runner-output-1")
        _wait_until_empty(mounted)
        assert goes_on(server)
        _wait_until_empty(mounted)
    server.start("head --bytes=1M /dev/zero; sleep 1000", job_id="fills")
    while os.statvfs(mounted).f_bavail:
        """Wait until the disk is full."""
    assert "No space left on device" in _refused(server)
    server.client.close("fills")
    _wait_until_empty(mounted)
    assert goes_on(server)


def _wait_until_empty(disk: str) -> None:
    """Wait until the space of removed files is free: the supervisor closes its copy of a log a moment after the end."""
    while (space := os.statvfs(disk)).f_bavail < space.f_blocks:
        """Wait on."""


def _refused(server: Server) -> str:
    """Return the message of the refusal of a job; empty if the job can be started."""
    job_id = uuid.uuid4().hex
    try:
        server.client.run(RunRequest(id=job_id, steps=script("true"), work_dir="/"))
    except StepRunnerError as error:
        return str(error)
    server.wait_for_end(job_id)
    server.client.close(job_id)
    return ""


def test_deleted_temporary_directory_fails_only_its_jobs(serve: Callable[..., Server], temporary: str) -> None:
    server = serve()
    Path(temporary, "kept").mkdir()
    lost = ended(server, f"rm -r {temporary}/step-runner-output-*", "echo unreached ${{ output_file }}")
    assert lost.status is Status.FAILURE
    assert "No such file or directory" in lost.message
    os.rename(temporary, f"{temporary}-away")
    assert "No such file or directory" in _refused(server)
    os.rename(f"{temporary}-away", temporary)
    assert goes_on(server)


def test_limit_of_open_files_refuses_only_new_jobs(serve: Callable[..., Server]) -> None:
    """The server refuses jobs over the limit; running jobs go on, and can be stopped."""
    server = serve("sh", "-c", 'ulimit -n 60 && exec "$@"', "")
    running: list[str] = []
    refusals: list[str] = []
    while not refusals:
        job_id = str(len(running))
        try:
            server.start("echo begun; sleep 1000", job_id=job_id)
            running.append(job_id)
        except StepRunnerError as error:
            refusals.append(str(error))
        else:
            refusals += [status.message for status in server.client.jobs() if status.status is Status.FAILURE]
    assert "too many open files" in refusals[0].lower()
    for job_id in running:
        server.client.close(job_id)
    assert goes_on(server)


NO_PROCESS = "the step runner cannot work: the limit of processes is reached"
NO_STEP = 'step "{}": exec: exec: "true": resource temporarily unavailable: the limit of processes is reached'


@needs_root
@pytest.mark.parametrize(
    ("limit", "arguments", "sentence"),
    [
        ("--nofile=20", ["serve"], "starting the server: too few open files are allowed (ulimit -n is 20): "),
        ("--nproc=8", ["serve"], "starting the server: no more processes and threads can be started (ulimit -u is 8)"),
        ("--nproc=1", ["serve"], NO_PROCESS),
        ("--nproc=1", ["run", "."], NO_PROCESS),
        ("--nproc=2", ["run", "."], NO_STEP),
    ],
    ids=["files for serve", "threads for serve", "process for serve", "process for run", "step of run"],
)
def test_limits_that_leave_no_room_are_named(tmp_path: Path, limit: str, arguments: list[str], sentence: str) -> None:
    if shutil.which("setpriv") is None:
        absent("setpriv")
    (tmp_path / "func.yml").write_text("{}\n---\nexec:\n  command: ['true']\n")
    identity = ("setpriv", f"--reuid={USER + 4000}", f"--regid={USER}", "--clear-groups")
    capable = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    command = ("prlimit", limit, *identity, *capable, sys.executable, "-m", "step_runner", *arguments)
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"Error: {sentence.format(tmp_path.name)}" in ended.stderr
    assert ended.returncode == 1


@needs_root
def test_fork_bomb_within_process_limit_stops_no_other_job(serve: Callable[..., Server], temporary: str) -> None:
    """Another job can run meanwhile, because a step may use fewer processes than its user."""
    if shutil.which("setpriv") is None:
        absent("setpriv")
    os.chown(temporary, USER, USER)
    identity = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    capable = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    server = serve("prlimit", "--nproc=120", *identity, *capable)
    crowd = Crowd()
    bomb = f"while :; do sh -c 'sleep 1000' {crowd.mark} & done"
    server.start(f"echo begun; for i in 1 2 3; do ({bomb}) & done; wait")
    log = b""
    for data in server.client.follow("1"):
        log += data
        if b"fork" in log:
            break
    assert goes_on(server)
    server.client.close("1")
    assert crowd.survivors() == []
    assert goes_on(server)
