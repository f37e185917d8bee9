"""Jobs of a real CI engine, gitlab-ci-local with its shell executor, that call `step-runner ci`."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.integration.conftest import Project

PATIENCE = 20
"""Seconds after which a process that should have ended counts as a survivor."""


def job(name: str, steps: list[dict[str, object]]) -> str:
    """Return a .gitlab-ci.yml with one job; JSON is valid YAML."""
    return json.dumps({name: {"script": ["step-runner ci"], "variables": {"STEPS": json.dumps(steps)}}})


def test_outputs_and_exports_reach_later_steps(project: Project) -> None:
    steps: list[dict[str, object]] = [
        {
            "name": "make",
            "script": 'echo \'{"name":"who","value":"Ada"}\' > ${{ output_file }}\n'
            'echo \'{"name":"MOOD","value":"fine"}\' > ${{ export_file }}',
        },
        {"name": "use", "script": "echo hello ${{ steps.make.outputs.who }}, $$MOOD in ${{ vars.CI_JOB_NAME }}"},
    ]
    project.write(".gitlab-ci.yml", job("greet", steps))
    ended = project.run("greet")
    assert "greet > hello Ada, fine in greet\n" in ended.stdout
    assert ended.returncode == 0


def test_functions_of_repository_are_found(project: Project) -> None:
    project.write("functions/hello/func.yml", "{}\n---\nexec: {command: [echo, 'from ${{ work_dir }}']}\n")
    project.write(".gitlab-ci.yml", job("call", [{"name": "hello", "func": "./functions/hello"}]))
    assert f"call > from {project.directory}\n" in project.run("call").stdout


def test_failing_step_fails_job_with_its_status(project: Project) -> None:
    steps: list[dict[str, object]] = [{"name": "fail", "script": "exit 3"}, {"name": "never", "script": "echo ran"}]
    project.write(".gitlab-ci.yml", job("broken", steps))
    ended = project.run("broken")
    assert ended.returncode != 0
    assert 'Error: step "fail": exec: exit status 3' in ended.stdout
    assert "FAIL 3" in ended.stdout
    assert "name=never" not in ended.stdout


CLEANS_UP = "trap 'echo cleaned > cleaned; kill -KILL $!; exit 0' TERM; sleep 600 & echo ready; wait"


@pytest.mark.parametrize("whole_group", [True, False], ids=["process group, as by Ctrl-C", "engine alone"])
def test_stopped_engine_runs_trap_and_leaves_no_process(
    project: Project, processes: Callable[[], list[psutil.Process]], whole_group: bool
) -> None:
    """The engine sends its jobs no signal. If it stops alone, `step-runner ci` notices that its output is closed."""
    project.write(".gitlab-ci.yml", job("deploy", [{"name": "deploy", "script": CLEANS_UP}]))
    with project.start("deploy") as engine:
        assert engine.stdout is not None
        written = list(until(engine.stdout, "> ready\n"))
        assert written[-1].endswith("> ready\n"), "".join(written)
        left = processes()
        assert left
        if whole_group:
            os.killpg(engine.pid, signal.SIGINT)
        else:
            engine.send_signal(signal.SIGINT)
        engine.wait(timeout=PATIENCE)
    _, survivors = psutil.wait_procs(left, timeout=PATIENCE)
    assert survivors == []
    assert processes() == []
    assert (project.directory / "cleaned").read_text() == "cleaned\n"


def until(lines: Iterable[str], ending: str) -> Iterator[str]:
    """Yield lines up to one with this ending, or to the last one."""
    for line in lines:
        yield line
        if line.endswith(ending):
            return
