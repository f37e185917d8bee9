"""The single file in a root directory without Python, like in a container of any image."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.support.gateway import Gateway
from tests.support.steps import script

from step_runner import __version__
from step_runner.api.client import Client
from step_runner.model import RunRequest, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.bare_root import BareRoot

pytestmark = pytest.mark.timeout(180)  # the first test builds the file

PROGRAM = "/bin/step-runner"

JOB = "{}\n---\nrun:\n  - name: greet\n    script: |\n"

READ_ONLY = 'mount -t tmpfs -o noexec tmpfs "$0/tmp" && mount -o remount,bind,ro "$0"'

TRAP = "trap 'echo stopped; exit 1' TERM; echo ready; while :; do read -t 1 x </dev/zero; done"
"""A step that writes `stopped` for each SIGTERM."""


class Server:
    """The single file as a server, the first process of its container, and a client that connects through proxies."""

    def __init__(self, root: BareRoot, temporary: str, **options: Any) -> None:
        self._root = root
        self.outer = root.start(
            PROGRAM, "serve", "--socket", "/tmp/s.sock", stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **options
        )
        self.first_line = self.outer.stderr.readline().decode()
        self._gateway = Gateway(f"{temporary}/g.sock", self._proxy)
        self.client = Client(f"{temporary}/g.sock")

    def _proxy(self, end: int) -> subprocess.Popen[bytes]:
        proxy: subprocess.Popen[bytes] = self._root.start(
            PROGRAM, "proxy", "--socket", "/tmp/s.sock", stdin=end, stdout=end
        )
        return proxy

    @property
    def first(self) -> psutil.Process:
        """The first process of the container, its PID 1."""
        (child,) = psutil.Process(self.outer.pid).children()
        return child

    def start(self, steps: str) -> Iterator[bytes]:
        """Start a job in the directory /job of the root, and follow its log."""
        self.client.run(RunRequest(id="1", steps=steps, work_dir="/job", graceful_exit_delay=20.0))
        return self.client.follow("1")

    def close(self) -> list[int]:
        """Kill the container; return the exit status of each proxy."""
        self.client.__exit__(None, None, None)
        self.outer.kill()  # it ignores SIGTERM; its death kills the container
        with self.outer:
            return self._gateway.close()


@pytest.fixture
def server(root: BareRoot, temporary: str) -> Iterator[Server]:
    server = Server(root, temporary)
    yield server
    server.close()


def test_single_file_shows_its_version(root: BareRoot) -> None:
    ended = root.run(PROGRAM, "--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"step-runner {__version__}\n", "")


@pytest.mark.parametrize(
    ("then", "env"),
    [(":", {}), (READ_ONLY, {}), (READ_ONLY, {"TMPDIR": "/tmp"}), ("exec 0<&- 1<&1 2<&2", {})],
    ids=["bare", "read-only root, noexec /tmp", "noexec TMPDIR", "stdin closed"],
)
def test_single_file_runs_steps(root: BareRoot, then: str, env: dict[str, str]) -> None:
    """It unpacks nothing: no directory needs to be writable or executable, except that steps write their files."""
    root.write("job/func.yml", f"{JOB}      echo hello ${{{{ 1 + 1 }}}}\n")
    ended = root.run(PROGRAM, "run", "/job", then=then, env=env)
    assert (ended.returncode, ended.stdout) == (0, "hello 2\n"), ended.stderr


def test_single_file_runs_functions_in_python(root: BareRoot) -> None:
    """The process of the function executes the single file, too."""
    build = "func: builtin://function/oci/build\ninputs: {version: 1.0.0, platforms: {linux/amd64: {files: {f: f}}}}"
    root.write("f", "f")
    ended = root.run(PROGRAM, "run", build)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("built function-image.tar: version 1.0.0, linux/amd64, sha256:")


def test_single_file_adds_no_variable_of_its_own_to_steps(root: BareRoot) -> None:
    given = {"LD_LIBRARY_PATH": "/nowhere", "PYTHONPATH": "/nowhere", "HOME": "/job", "LANG": "C"}
    root.write("job/func.yml", f"{JOB}      export -p\n")
    ended = root.run(PROGRAM, "run", "/job", env=given)
    lines = {line.removeprefix("export ") for line in ended.stdout.splitlines()}
    found = {line.partition("=")[0]: line.partition("=")[2].strip("'") for line in lines}
    assert {name: found[name] for name in given} == given
    assert found.keys() - given.keys() <= {"PATH", "PWD", "OLDPWD", "CI_STEPS_LOG_LEVEL", "GRACEFULEXITCMD_COOKIE"}


def test_single_file_copies_itself(root: BareRoot, program: Path) -> None:
    assert root.run(PROGRAM, "bootstrap", "/opt/gitlab-runner/gitlab-runner-helper").returncode == 0
    copy = "/opt/gitlab-runner/gitlab-runner-helper"
    assert (root.path / copy.lstrip("/")).read_bytes() == program.read_bytes()
    assert root.run(copy, "steps", "bootstrap", "/x/step-runner").returncode == 0
    assert root.run("/x/step-runner", "--version").stdout == f"step-runner {__version__}\n"


def test_single_file_serves_and_cancels_through_proxies(server: Server) -> None:
    assert server.first_line == "step-runner is listening on socket /tmp/s.sock\n"
    log = b""
    for chunk in server.start(script(TRAP, "echo never")):
        log += chunk
        if b"ready\n" in log and b"stopped\n" not in log:
            server.client.cancel("1")
    assert log.count(b"\nstopped\n") == 1
    assert b"never" not in log
    assert server.client.status("1").status is Status.CANCELLED


def test_server_as_pid_1_stops_jobs_once_at_sigterm(server: Server) -> None:
    """As PID 1 it stops jobs gracefully, sends SIGTERM once, and exits with status 0."""
    following = server.start(script(TRAP, "echo never"))
    log = b""
    while b"ready\n" not in log:
        log += next(following)
    server.first.send_signal(signal.SIGTERM)
    log += b"".join(following)
    assert log.count(b"\nstopped\n") == 1
    assert b"never" not in log
    assert server.outer.wait() == 0


def test_running_program_survives_its_replacement(root: BareRoot, server: Server) -> None:
    """It still finds modules that it has not imported yet: bootstrap can replace a running file."""
    root.write("new", "#!/bin/sh\nexit 3\n")
    os.replace(root.path / "new", root.path / "bin/step-runner")
    missing = "{}\n---\nrun:\n  - {name: a, func: 'https://localhost:1/x@v1'}\n"
    with Client(str(root.path / "tmp/s.sock")) as direct:
        direct.run(RunRequest(id="1", steps=missing, work_dir="/job"))
        for _ in direct.follow("1"):
            """Wait for its end."""
        message = direct.status("1").message
    assert "localhost" in message
    assert "ModuleNotFoundError" not in message


def test_single_file_without_proc_uses_temporary_directory(root: BareRoot) -> None:
    ended = root.run(PROGRAM, "bootstrap", "", then='umount "$0/proc"', env={"TMPDIR": "/tmp"})
    assert ended.stderr == "Error: destination argument must be provided\n"
    assert os.listdir(root.path / "tmp") == []


def test_builder_names_missing_compiler(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "binary.build", str(tmp_path / "x")],
        cwd=Path(__file__).parent.parent.parent,
        env={**os.environ, "CC": "/nowhere/cc"},
        capture_output=True,
        text=True,
    )
    assert ended.stderr == "Error: C compiler /nowhere/cc does not exist: install one, such as gcc and libc6-dev\n"
    assert os.listdir(tmp_path) == []
