from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Server

    Command = Callable[..., subprocess.CompletedProcess[str]]


def test_close_stops_running_job_gracefully_and_removes_it(
    command: Command, server: Server, step_file: Callable[..., Path], tmp_path: Path
) -> None:
    script = f"trap 'touch {tmp_path}/cleaned; exit 0' TERM\necho ready\nwhile :; do sleep 60 & wait $!; done"
    job = server.started(step_file(script))
    ended = command("close", job, "--socket", server.path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, 'closed job "1"\n', "")
    assert (tmp_path / "cleaned").exists()
    with pytest.raises(StepRunnerError, match="no job with id"):
        server.client.status(job)


def test_close_of_unknown_job_is_an_error(command: Command, server: Server) -> None:
    ended = command("close", "x", "--socket", server.path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f'Error: no job with id "x": list the jobs with: step-runner jobs --socket {server.path}\n'


def test_environment_may_name_socket(
    command: Command, server: Server, step_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEP_RUNNER_SOCKET", server.path)
    job = server.started(step_file("echo ready"))
    assert command("close", job).returncode == 0
