"""`step-runner ci`: the steps of the variable STEPS, with the variables of the job that they may see."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.here import Ended, step_runner

from step_runner import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Ci = Callable[..., Ended]

BANNER = f"step-runner {__version__}\n"


def script(*texts: str) -> str:
    return json.dumps([{"name": f"s{number}", "script": text} for number, text in enumerate(texts, start=1)])


@pytest.fixture
def ci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ci:
    """Runs the steps in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("CI_PROJECT_DIR", "CI_STEPS_DEBUG", "CI_STEPS_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)

    def run(steps: str, *arguments: str) -> Ended:
        monkeypatch.setenv("STEPS", steps)
        return step_runner("ci", *arguments)

    return run


def test_outputs_pass_from_step_to_step(ci: Ci) -> None:
    first = 'echo \'{"name":"x","value":"Ada"}\' > ${{ output_file }}'
    ended = ci(script(first, "echo hello ${{ steps.s1.outputs.x }}"))
    assert ended == (0, "hello Ada\n", BANNER + "Running step name=s1\nRunning step name=s2\n")


def test_steps_of_variable_are_yaml(ci: Ci) -> None:
    """Names may be missing here, and `step` is another word for `func`."""
    assert ci("- script: |\n    echo one\n    echo two\n").stdout == "one\ntwo\n"


def test_empty_list_runs_nothing(ci: Ci) -> None:
    assert ci("[]") == (0, "", BANNER)


@pytest.mark.parametrize("steps", ["", "  \n", None], ids=["empty", "blank", "not set"])
def test_missing_steps_are_an_error(ci: Ci, steps: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if steps is None:
        monkeypatch.delenv("STEPS", raising=False)
        ended = step_runner("ci")
    else:
        ended = ci(steps)
    assert ended == (
        1,
        "",
        f"{BANNER}Error: compiling STEPS: at least one of `script, `action`, `run` or `exec` must be provided:"
        " the variable STEPS is empty or not set\n",
    )


def test_environment_holds_only_listed_variables_of_job(ci: Ci, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the job's variables a step has only those that are listed."""
    for name in ("CI_TOKEN", "GITLAB_X", "DOCKER_X", "SECRET", "HOME", "PATHX"):
        monkeypatch.setenv(name, "hidden")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("https_proxy", "http://proxy")
    names = {line.partition("=")[0] for line in ci(script("env")).stdout.splitlines()}
    assert names <= {
        *("HTTPS_PROXY", "HTTP_PROXY", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "NO_PROXY", "PATH", "SHELL", "TERM"),
        *("TMPDIR", "TZ", "USER", "all_proxy", "http_proxy", "https_proxy", "no_proxy", "CI_STEPS_LOG_LEVEL"),
        *("PWD", "SHLVL", "_"),  # set by bash itself
        "GRACEFULEXITCMD_COOKIE",  # by which processes are known to belong to the job
    }
    assert names >= {"PATH", "TMPDIR", "TZ", "https_proxy", "CI_STEPS_LOG_LEVEL"}


@pytest.mark.parametrize("name", ["CI_X", "GITLAB_X", "DOCKER_X"])
def test_job_variables_reach_steps(ci: Ci, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "seen")
    assert ci(script(f"echo ${{{{ vars.{name} }}}} ${{{{ job.{name} }}}}")).stdout == "seen seen\n"


def test_other_variables_are_not_job_variables(ci: Ci, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FF_X", "1")
    ended = ci(script("echo ${{ vars.FF_X }}"))
    assert (ended.status, ended.stdout) == (1, "")


@pytest.mark.parametrize(("given", "level"), [(None, "info"), ("DEBUG", "debug")])
def test_log_level_comes_from_variable(ci: Ci, monkeypatch: pytest.MonkeyPatch, given: str | None, level: str) -> None:
    if given is not None:
        monkeypatch.setenv("CI_STEPS_LOG_LEVEL", given)
    assert ci(script("echo $CI_STEPS_LOG_LEVEL")).stdout == f"{level}\n"


def test_unknown_log_level_is_refused(ci: Ci, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_STEPS_LOG_LEVEL", "LOUD")
    ended = ci(script("echo ran"))
    assert (ended.status, ended.stdout) == (1, "")
    assert "log level: loud not supported: use one of debug, info, warn, error" in ended.stderr


def test_steps_run_in_project_with_references_from_current_dir(
    ci: Ci, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative references start at the current directory, and steps run in the project's."""
    (tmp_path / "project").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "func.yml").write_text("{}\n---\nexec: {command: [pwd]}")
    monkeypatch.setenv("CI_PROJECT_DIR", str(tmp_path / "project"))
    ended = ci('[{name: a, func: ./here}, {name: b, script: "echo \\"[${{ func_dir }}]\\""}]')
    assert (ended.status, ended.stdout) == (0, f"{tmp_path}/project\n[]\n")


def test_work_dir_without_project_ends_without_slash(ci: Ci, tmp_path: Path) -> None:
    ended = ci(script("echo ${{ work_dir }}; pwd; echo $PWD"))
    assert ended.stdout == f"{tmp_path}\n" * 3


def test_failing_step_gives_its_status_and_ends_job(ci: Ci, tmp_path: Path) -> None:
    ended = ci(script("exit 7", "echo ran"), "--write-steps-results")
    assert (ended.status, ended.stdout) == (7, "")
    assert ended.stderr.endswith('Error: step "s1": exec: exit status 7\n')
    tree = json.loads((tmp_path / "step-results.json").read_text())
    assert (tree["status"], len(tree["subStepResults"])) == ("failure", 1)


def test_step_error_runs_nothing(ci: Ci) -> None:
    ended = ci("- {name: a, script: echo ran}\n- {name: b, scirpt: echo}\n")
    assert (ended.status, ended.stdout) == (1, "")
    assert 'STEPS:2:3: step "b" has neither "func" nor "script"; add one of them\n' in ended.stderr


def test_function_made_by_earlier_step_causes_only_a_warning(ci: Ci) -> None:
    make = "mkdir made && printf '{}\\n---\\nexec: {command: [echo, made]}' > made/func.yml"
    ended = ci(json.dumps([{"name": "make", "script": make}, {"name": "use", "func": "./made"}]))
    assert (ended.status, ended.stdout) == (0, "made\n")
    assert "STEPS:1:" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_step_gracefully(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    text = "trap 'echo cleaning; kill -KILL $!; exit 0' TERM; sleep 60 & echo ready; wait"
    monkeypatch.setenv("STEPS", script(text, "echo ran"))
    with started(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.read() == "cleaning\n"
    assert process.returncode == 128 + number
    assert json.loads((tmp_path / "r.json").read_text())["subStepResults"][0]["status"] == "cancelled"


def test_environment_sets_grace_period(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step itself ends at once, but a process that it has started does not."""
    monkeypatch.setenv("STEP_RUNNER_GRACEFUL_EXIT_DELAY", "200ms")
    monkeypatch.setenv("STEPS", script("(trap '' TERM; echo ready; sleep 60) & wait"))
    with started(tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        errors = process.stderr.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert re.search(r'Stopping step "s1": SIGTERM to \d processes, 0(\.\d)? s to finish\n', errors)
    assert re.search(r"Ended \d process(es)? that ignored SIGTERM: ", errors)


def started(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "step_runner", "ci", "--step-results-file", "r.json"],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_further_arguments_are_refused(ci: Ci) -> None:
    assert ci("[]", "extra").status == 1


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_lost_reader_of_output_stops_step_gracefully(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A CI engine that was killed sends no signal; those in Go give a job a pipe, those in Node a socket.

    Into the pipe the step can go on writing while it cleans up, however much.
    """
    chatter = "seq 100000; seq 100000 >&2;" if kind == "pipe" else ""
    text = f"trap '{chatter} echo cleaned > cleaned; kill -KILL $!; exit 0' TERM; sleep 60 & echo ready; wait"
    monkeypatch.setenv("STEPS", script(text))
    if kind == "pipe":
        reader, writer = os.pipe()
    else:
        ours, theirs = socket.socketpair()
        reader, writer = ours.detach(), theirs.detach()
    process = subprocess.Popen([sys.executable, "-m", "step_runner", "ci"], cwd=tmp_path, stdout=writer, stderr=writer)
    os.close(writer)
    written = b""
    while b"ready\n" not in written:
        written += os.read(reader, 100)
    os.close(reader)
    assert process.wait() == 128 + signal.SIGPIPE
    assert (tmp_path / "cleaned").read_text() == "cleaned\n"
