"""`step-runner run`: sources, values, records, exit statuses, and being stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support import steps
from tests.support.here import Ended, step_runner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., Ended]

GREET = """\
spec:
  inputs:
    name: {type: string}
    count: {type: number, default: 1}
---
exec:
  command: [sh, -c, 'echo "$1 $2 $V"', greet, "${{ inputs.name }}", "${{ inputs.count }}"]
"""

TEXT_PROTO = """\
spec { spec { inputs { key: "who" value { type: string } } } }
definition {
  type: steps
  steps {
    name: "say"
    step { protocol: dist paths { parts: "script" } }
    inputs { key: "script" value { string_value: "echo hello ${{ inputs.who }}" } }
  }
  steps {
    name: "greet"
    step { protocol: local paths { parts: "greet" } }
    inputs { key: "name" value { string_value: "${{ inputs.who }}" } }
    inputs { key: "count" value { number_value: 3 } }
  }
}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run next to the function `greet`, which prints its inputs and the variable V."""
    (tmp_path / "greet").mkdir()
    (tmp_path / "greet" / "func.yml").write_text(GREET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("V", raising=False)
    return lambda *arguments: step_runner("run", *arguments)


def script(text: str) -> str:
    return json.dumps({}) + "\n---\n" + json.dumps({"run": [{"name": "work", "script": text}]})


# The function to run.


@pytest.mark.parametrize(
    "reference",
    [
        "greet",
        "greet/",
        "./greet",
        "greet/func.yml",
        "./greet/func.yml",
        "func: ./greet",
        "step: ./greet",
        "  func: ./greet\n  inputs: {name: Bob}\n",
    ],
)
def test_reference_is_a_path_or_an_item_of_a_run_list(run: Run, reference: str) -> None:
    assert run(reference, "--inputs", "name=Ada").stdout == "Ada 1 \n"


def test_absolute_path_is_a_reference(run: Run, tmp_path: Path) -> None:
    assert run(str(tmp_path / "greet"), "--inputs", "name=Ada").stdout == "Ada 1 \n"


def test_options_override_inputs_and_env_of_item(run: Run) -> None:
    """Inputs and env of an item of a run list hold unless an option gives the same name."""
    item = "func: ./greet\ninputs: {name: Bob, count: 2}\nenv: {V: x}"
    assert run(item, "--inputs", "name=Ada").stdout == "Ada 2 x\n"
    assert run(item, "--env", "V=y").stdout == "Bob 2 y\n"


def test_definition_may_be_protobuf_text(run: Run, tmp_path: Path) -> None:
    """Its directory is where its local references start."""
    (tmp_path / "f.txtpb").write_text(TEXT_PROTO)
    ended = run("--text-proto-step-file", "f.txtpb", "--inputs", "who=Ada")
    assert (ended.status, ended.stdout) == (0, "hello Ada\nAda 3 \n")


def test_text_form_precedes_reference_and_git(run: Run, tmp_path: Path) -> None:
    """With the text form a reference is not read, and with a reference Git is not asked."""
    (tmp_path / "f.txtpb").write_text(TEXT_PROTO)
    assert run("./absent", "--text-proto-step-file", "f.txtpb", "--inputs", "who=A").stdout == "hello A\nA 3 \n"
    assert run("greet", "--inputs", "name=A", "--git-url", "x").stdout == "A 1 \n"


def test_function_of_git_repository_runs(run: Run, tmp_path: Path) -> None:
    """The directory is counted from the root of the repository."""
    for arguments in (["init", "-q", "-b", "main"], ["add", "greet"], ["commit", "-q", "-m", "x"]):
        identity = ("-c", "user.name=x", "-c", "user.email=x@x")
        subprocess.run(["git", *identity, *arguments], check=True, cwd=tmp_path)
    source = ("--git-url", tmp_path.as_uri(), "--git-rev", "main")
    limited = run(*source, "--git-dir", "greet", "--inputs", "name=Ada", "--fetch-limit", "20")
    assert "it has more than 20 bytes: set STEP_RUNNER_FETCH_LIMIT to more" in limited.stderr
    assert run(*source, "--git-dir", "greet", "--inputs", "name=Ada").stdout == "Ada 1 \n"

    wrong = run(*source, "--git-dir", "greet", "--inputs", "name=1.10", "--inputs", "count=x")
    assert (wrong.status, wrong.stdout) == (1, "")
    assert wrong.stderr.endswith('step "greet": input "count" is a string, but its declared type is number\n')
    assert run(*source, "--git-dir", "greet", "--inputs", "name=1.10").stdout == "1.10 1 \n"


# Values.


def test_inputs_env_and_job_variables_reach_function(run: Run) -> None:
    values = ("--inputs", "name=${{ vars.WHO }},count=2", "--env", "V=1,W=2", "--job", "WHO=Ada", "--inputs", "count=7")
    assert run("greet", *values).stdout == "Ada 7 1\n"


def test_environment_drops_variables_of_enclosing_job(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CI_A", "GITLAB_A", "FF_A", "DOCKER_ENV_A", "GRACEFULEXITCMD_A", "DOCKER_A", "KEPT"):
        monkeypatch.setenv(name, "1")
    (tmp_path / "a.yml").write_text(script("env | grep -E '_A=|KEPT' | sort"))
    assert run("a.yml").stdout == "DOCKER_A=1\nKEPT=1\n"


def test_record_hides_variables_of_supervision(run: Run, tmp_path: Path) -> None:
    """Two runs of the same have the same records."""
    (tmp_path / "a.yml").write_text(script("true"))
    run("a.yml", "--report", "r.json")
    assert "GRACEFULEXITCMD" not in (tmp_path / "r.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "level"),
    [((), "info"), (("--job", "CI_STEPS_LOG_LEVEL= WARN"), "warn")],
    ids=["the process's is not seen", "the job variable"],
)
def test_log_level_is_an_option(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], level: str
) -> None:
    monkeypatch.setenv("CI_STEPS_LOG_LEVEL", "debug")
    (tmp_path / "a.yml").write_text(script("echo $CI_STEPS_LOG_LEVEL"))
    assert run("a.yml", *arguments).stdout == f"{level}\n"


def test_steps_run_in_current_directory(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(script("pwd; echo '${{ work_dir }}'"))
    assert run("a.yml").stdout == f"{tmp_path}\n{tmp_path}\n"


# Checked before it runs.


def test_function_made_by_earlier_step_causes_only_a_warning(run: Run, tmp_path: Path) -> None:
    steps = [
        {"name": "clone", "script": "cp -R greet cloned"},
        {"name": "use", "func": "./cloned", "inputs": {"name": "A"}},
    ]
    (tmp_path / "a.yml").write_text("{}\n---\n" + json.dumps({"run": steps}))
    ended = run("a.yml")
    assert (ended.status, ended.stdout) == (0, "A 1 \n")
    assert "warning: an earlier step must make this function: cloned: no such directory" in ended.stderr


def test_function_made_by_no_step_is_an_error(run: Run, tmp_path: Path) -> None:
    """The first step of the function that the first step calls."""
    (tmp_path / "a.yml").write_text("{}\n---\n" + json.dumps({"run": [{"name": "a", "func": "./inner"}]}))
    (tmp_path / "inner").mkdir()
    first = [{"name": "a", "func": "./absent"}, {"name": "b", "script": "echo ran"}]
    (tmp_path / "inner" / "func.yml").write_text("{}\n---\n" + json.dumps({"run": first}))
    ended = run("a.yml")
    assert (ended.status, ended.stdout) == (1, "")
    assert "inner/func.yml:3:32: inner/absent: no such directory" in ended.stderr


def test_error_in_later_step_runs_nothing(run: Run, tmp_path: Path) -> None:
    steps = [{"name": "a", "script": "echo ran"}, {"name": "b", "func": "./greet"}]
    (tmp_path / "a.yml").write_text("{}\n---\n" + json.dumps({"run": steps}))
    ended = run("a.yml")
    assert (ended.status, ended.stdout) == (1, "")
    assert ended.stderr.endswith("Error: nothing was run: 1 error\n")


# Records.


def test_result_tree_has_run_at_its_root(run: Run, tmp_path: Path) -> None:
    assert run("greet", "--inputs", "name=Ada", "--write-steps-results").status == 0
    path = tmp_path / "step-results.json"
    root = json.loads(path.read_text())
    (child,) = root["subStepResults"]
    assert root["status"] == child["status"] == "success"
    assert child["step"]["inputs"] == {"name": "Ada"}
    assert child["execResult"]["command"][-2:] == ["Ada", "1"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_result_tree_is_written_on_failure_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(script("exit 3"))
    assert run("a.yml", "--step-results-file", "r.json").status == 3
    work = json.loads((tmp_path / "r.json").read_text())["subStepResults"][0]["subStepResults"][0]
    assert (work["status"], work["execResult"]["exitCode"]) == ("failure", 3)


def test_result_tree_may_be_prototext(run: Run, tmp_path: Path) -> None:
    run("greet", "--inputs", "name=Ada", "--write-steps-results", "--step-results-format", "prototext")
    assert 'string_value: "Ada"' in (tmp_path / "step-results.txtpb").read_text()


@pytest.mark.parametrize("results_format", ["json", "prototext"])
def test_result_tree_replaces_invalid_utf8(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results_format: str
) -> None:
    """A byte that no text can hold becomes a question mark, and nothing fails."""
    monkeypatch.setenv("BAD", "a\udcff")
    options = ("--step-results-file", "results", "--step-results-format", results_format)
    assert run("greet", "--inputs", "name=Ada", *options).status == 0
    assert '"a?"' in (tmp_path / "results").read_text()


def test_result_tree_too_deep_for_prototext_is_reported(run: Run, tmp_path: Path) -> None:
    """Only the file is not written: the run itself is unchanged."""
    value = "[" * 99 + "]" * 99
    (tmp_path / "a.yml").write_text(script(f'echo \'{{"name": "a", "value": {value}}}\' > ${{{{ output_file }}}}'))
    ended = run("a.yml", "--write-steps-results", "--step-results-format", "prototext")
    assert ended.status == 0
    sentence = "a value is nested too deeply for protobuf: choose the format json"
    assert f"Error: writing the step results to step-results.txtpb: {sentence}\n" in ended.stderr


@pytest.mark.parametrize(("debug", "written"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_debug_level_writes_result_tree(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, debug: str, written: bool
) -> None:
    monkeypatch.setenv("CI_STEPS_DEBUG", debug)
    run("greet", "--inputs", "name=Ada")
    assert (tmp_path / "step-results.json").exists() == written


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_run_of_script_loads_no_openssl(run: Run, tmp_path: Path) -> None:
    """It takes milliseconds, which only a function that is fetched needs."""
    (tmp_path / "maps.yml").write_text(script('cat "/proc/$PPID/maps"'))
    ended = run("maps.yml")
    assert ended.status == 0
    assert "libpython" in ended.stdout or "python3" in ended.stdout
    assert "libcrypto" not in ended.stdout


def test_option_turns_result_tree_off(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_STEPS_DEBUG", "true")
    run("greet", "--inputs", "name=Ada", "--no-write-steps-results")
    assert not (tmp_path / "step-results.json").exists()


def test_debug_level_shows_invalid_line_of_output_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_STEPS_DEBUG", "true")
    (tmp_path / "a.yml").write_text(script("echo old=form > ${{ output_file }}"))
    assert run("a.yml", "--no-write-steps-results").stderr.endswith(", line: old=form\n")


def test_report_describes_run_for_its_owner_only(run: Run, tmp_path: Path) -> None:
    run("greet", "--inputs", "name=Ada", "--report", "r.json")
    path = tmp_path / "r.json"
    report = json.loads(path.read_text())
    assert (report["status"], report["exitStatus"]) == ("success", 0)
    assert report["result"]["subStepResults"][0]["step"]["name"] == "greet"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("option", ["--report", "--step-results-file"])
def test_unwritable_report_leaves_status_unchanged(run: Run, option: str) -> None:
    """The exit status is that of the run; a warning says that its record is missing."""
    ended = run("greet", "--inputs", "name=Ada", option, "absent/r.json")
    assert ended.status == 0
    assert "to absent/r.json: no such file or directory" in ended.stderr


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1"])
def test_report_goes_to_open_pipe(run: Run, path: str) -> None:
    ended = run("greet", "--inputs", "name=Ada", "--report", path)
    assert json.loads(ended.stdout.partition("\n")[2])["status"] == "success"


def test_step_results_replace_committed_link(run: Run, tmp_path: Path) -> None:
    """Its default name lies in the project directory, where a commit can put one."""
    (tmp_path / "precious").write_text("old")
    (tmp_path / "step-results.json").symlink_to("precious")
    run("greet", "--inputs", "name=Ada", "--write-steps-results")
    assert (tmp_path / "precious").read_text() == "old"
    assert json.loads((tmp_path / "step-results.json").read_text())["status"] == "success"


# How it ends.


@pytest.mark.parametrize(
    ("text", "status"),
    [("true", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143), ("no-such-command", 127)],
)
def test_exit_status_is_that_of_failed_command(run: Run, tmp_path: Path, text: str, status: int) -> None:
    (tmp_path / "a.yml").write_text(script(text))
    assert run("a.yml").status == status


def test_failure_without_command_has_status_1(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("{}\n---\nexec: {command: [no-such-program]}")
    assert run("a.yml").status == 1


def test_timeout_has_status_of_sigterm(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(script("sleep 60"))
    ended = run("a.yml", "--timeout", "1s", "--report", "r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert (ended.status, report["errorKind"]) == (143, "timeout")
    assert report["termination"]["cause"] == "timeout"
    assert report["termination"]["signals"][0]["name"] == "SIGTERM"


TRAP = "trap 'echo cleaning; kill -KILL $child; exit 0' TERM; sleep 60 & child=$!; echo ready; wait"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_step_gracefully(tmp_path: Path, number: signal.Signals) -> None:
    """Although the step ends with status 0, it was stopped, and the status names the signal."""
    (tmp_path / "a.yml").write_text(script(TRAP))
    with started(tmp_path, "a.yml", "--report", "r.json") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.read() == "cleaning\n"
    assert process.returncode == 128 + number
    assert json.loads((tmp_path / "r.json").read_text())["status"] == "cancelled"


def test_sigquit_kills_step_at_once_and_is_reported(tmp_path: Path) -> None:
    """In the log and in the record."""
    text = "trap 'echo ignored' TERM; echo ready; while :; do :; done"
    (tmp_path / "a.yml").write_text(script(text))
    with started(tmp_path, "a.yml", "--report", "r.json", stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.readline() == "ignored\n"
        process.send_signal(signal.SIGQUIT)
        assert process.stdout.read() == ""
        assert "Killed at once: SIGQUIT\n" in process.stderr.read()
    assert process.returncode == 128 + signal.SIGTERM
    termination = json.loads((tmp_path / "r.json").read_text())["termination"]
    assert (termination["forced"], termination["hurried"]) == (True, "SIGQUIT")


def test_repeated_requests_keep_grace_period(tmp_path: Path) -> None:
    """Five of them, while its trap runs for two seconds."""
    (tmp_path / "a.yml").write_text(script("trap 'sleep 2; echo cleaned; exit' TERM; echo ready; while :; do :; done"))
    with started(tmp_path, "a.yml", "--report", "r.json") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(5):
            process.terminate()
            time.sleep(random.random() * 0.5)
        assert process.stdout.read() == "cleaned\n"
    assert process.returncode == 128 + signal.SIGTERM
    termination = json.loads((tmp_path / "r.json").read_text())["termination"]
    assert not {"forced", "hurried"} & termination.keys()


def test_step_may_request_signal_ignored_by_shell(tmp_path: Path) -> None:
    """A shell sets SIGINT to be ignored in its background commands; the runner itself goes on ignoring it."""
    trap = "trap 'echo interrupted; exit' INT; echo ready; while :; do sleep 0.01; done"
    stop = {"signal": "SIGINT"}
    (tmp_path / "a.yml").write_text(steps.command("sh", "-c", trap, stop=stop))
    with started(tmp_path, "a.yml", before=("sh", "-c", 'trap "" INT; exec "$@"', "")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        process.terminate()
        assert process.stdout.read() == "interrupted\n"
    assert process.returncode == 128 + signal.SIGTERM


def test_environment_sets_grace_period(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEP_RUNNER_GRACEFUL_EXIT_DELAY", "100ms")
    (tmp_path / "a.yml").write_text(script("trap '' TERM; echo ready; sleep 60"))
    with started(tmp_path, "a.yml", "--report", "r.json") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        process.wait()
    termination = json.loads((tmp_path / "r.json").read_text())["termination"]
    assert termination["forced"]
    assert [termination["signals"][index]["name"] for index in (0, -1)] == ["SIGTERM", "SIGKILL"]


def test_ignored_hangup_stays_ignored(tmp_path: Path) -> None:
    """As nohup(1) has it."""
    (tmp_path / "a.yml").write_text(script("echo ready; read line < fifo; echo $line"))
    os.mkfifo(tmp_path / "fifo")
    with started(tmp_path, "a.yml", before=("nohup",)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        (tmp_path / "fifo").write_text("went on\n")
        assert process.stdout.read() == "went on\n"
    assert process.returncode == 0


def test_run_leaves_no_file_in_temporary_directory(run: Run, temporary: str) -> None:
    before = set(os.listdir(temporary))
    run("greet", "--inputs", "name=Ada")
    assert set(os.listdir(temporary)) == before


def test_removed_current_directory_is_reported(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    shell = f"cd {gone} && rmdir {gone} && exec {sys.executable} -m step_runner run x.yml"
    ended = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "Error: the current directory was removed; go to another one\n")


def started(
    directory: Path, *arguments: str, before: tuple[str, ...] = (), stderr: int = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*before, sys.executable, "-m", "step_runner", "run", *arguments],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def test_ended_run_has_no_children(run: Run) -> None:
    before = psutil.Process().children()
    run("greet", "--inputs", "name=Ada")
    assert psutil.Process().children() == before
