"""Started with closed descriptors 0 to 2, commands work, and steps have those three and nothing else."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.steps import script

from step_runner.api.client import Client
from step_runner.errors import StepRunnerError
from step_runner.model import RunRequest, Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="proc(5) shows what a descriptor is")

CLOSED = [set(closed) for count in range(4) for closed in itertools.combinations((0, 1, 2), count)]
"""All eight combinations of stdin, stdout and stderr."""

LISTED = "ls -l /proc/self/fd | sed -n 's/.* \\([0-9]*\\) -> \\([^:]*\\).*/\\1 \\2/p'"
"""Lists the descriptors of ls, whose own directory is the fourth."""

THREE = ["0 /dev/null", "1 pipe", "2 pipe"]


def started(closed: set[int], command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """A command with pipes, of which some descriptors are closed."""
    closing = " ".join(f"{number}{'<' if number == 0 else '>'}&-" for number in closed)
    return subprocess.Popen(
        ["sh", "-c", f'exec "$@" {closing}', "", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


@pytest.mark.parametrize("closed", CLOSED, ids=lambda closed: f"without {sorted(closed)}")
@pytest.mark.parametrize("name", ["run", "ci"])
def test_closed_descriptors_do_not_affect_steps(name: str, closed: set[int], tmp_path: Path) -> None:
    """Each open descriptor stays what it is; each closed one becomes the null device."""
    texts = (f"({LISTED}) > listed", "echo out; echo err >&2")
    (tmp_path / "func.yml").write_text(script(*texts))
    steps = json.dumps([{"name": str(number), "script": text} for number, text in enumerate(texts)])
    command = [sys.executable, "-m", "step_runner", name, *(["."] if name == "run" else [])]
    process = started(closed, command, cwd=tmp_path, env={**os.environ, "STEPS": steps})
    out, err = process.communicate()
    assert process.returncode == 0, err
    listed = (tmp_path / "listed").read_text().splitlines()
    assert (listed[:3], len(listed)) == (THREE, 4)
    assert out == (b"" if 1 in closed else b"out\n")
    assert err.endswith(b"" if 2 in closed else b"err\n")
    assert (err == b"") == (2 in closed)


@pytest.mark.parametrize("closed", CLOSED, ids=lambda closed: f"without {sorted(closed)}")
def test_closed_descriptors_do_not_affect_server(closed: set[int], temporary: str) -> None:
    """A server starts, runs a job whose steps have their three descriptors, and stops."""
    path = os.path.join(temporary, "s.sock")
    command = [sys.executable, "-m", "step_runner", "serve", "--socket", path]
    process = started(closed, command)
    with process:
        try:
            _run_when_ready(process, path)
            with Client(path) as client:
                log = b"".join(client.follow("1")).decode()
                assert client.status("1").status is Status.SUCCESS
        finally:
            process.terminate()
    assert [line for line in log.splitlines() if line in THREE] == THREE
    assert len(log.splitlines()) == 1 + 4
    assert process.returncode == 0


def _run_when_ready(process: subprocess.Popen[bytes], path: str) -> None:
    """A server without stderr cannot say when it listens."""
    while process.poll() is None:
        try:
            with Client(path) as client:
                client.run(RunRequest(id="1", steps=script(LISTED), work_dir="/"))
        except StepRunnerError:
            continue
        return
    raise AssertionError("the server has ended")


@pytest.mark.parametrize("closed", CLOSED, ids=lambda closed: f"without {sorted(closed)}")
def test_closed_descriptors_are_null_for_command(closed: set[int], tmp_path: Path) -> None:
    """`python -m gracefulexitcmd` passes them on as the null device."""
    lists = 'listed=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2); echo "$listed" > listed'
    process = started(closed, [sys.executable, "-m", "gracefulexitcmd", "--", "sh", "-c", lists], cwd=tmp_path)
    process.communicate()
    assert process.returncode == 0
    listed = (tmp_path / "listed").read_text().splitlines()
    assert [number for number in (0, 1, 2) if listed[number] == "/dev/null"] == sorted(closed | {0})
