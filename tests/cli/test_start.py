from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from step_runner.cli.start import _steps

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from tests.cli.conftest import Server

    Command = Callable[..., subprocess.CompletedProcess[str]]


def log(server: Server, job_id: str) -> str:
    return b"".join(server.client.follow(job_id)).decode()


def test_it_says_how_to_follow_and_cancel(command: Command, server: Server, step_file: Callable[..., Path]) -> None:
    ended = command("start", str(step_file("echo hello")), "--id", "a b", "--socket", server.path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        'started job "a b"',
        f"follow it: step-runner logs 'a b' --follow --socket {server.path}",
        f"cancel it: step-runner cancel 'a b' --wait --socket {server.path}",
    ]
    assert log(server, "a b").endswith("\nhello\n")


def test_without_an_id_one_is_made(command: Command, server: Server, step_file: Callable[..., Path]) -> None:
    file = str(step_file("echo hello"))
    printed = [command("start", file, "--socket", server.path).stdout for _ in range(2)]
    ids = {re.match(r'started job "(\w+)"', text)[1] for text in printed}  # type: ignore[index]
    assert ids == {job.id for job in server.client.jobs()}
    assert len(ids) == 2


def test_an_id_that_is_taken_is_refused(command: Command, server: Server, step_file: Callable[..., Path]) -> None:
    file = str(step_file("echo ready"))
    server.started(Path(file))
    ended = command("start", file, "--id", "1", "--socket", server.path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == 'Error: there is a job with id "1" already: close it with: step-runner close 1\n'


def test_references_start_at_the_file_and_steps_run_in_the_current_directory(
    command: Command, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "outer/inner").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (tmp_path / "outer/func.yml").write_text("{}\n---\nrun:\n  - name: call\n    func: ./inner\n")
    (tmp_path / "outer/inner/func.yml").write_text("{}\n---\nexec:\n  command: [pwd]\n")
    command("start", "../outer", "--id", "1", "--socket", server.path, cwd=tmp_path / "here")
    assert log(server, "1").endswith(f"\n{tmp_path}/here\n")


def test_environment_and_variables_reach_the_steps(
    command: Command, server: Server, step_file: Callable[..., Path]
) -> None:
    file = str(step_file('echo "$STAGE ${{ vars.KIND }} $KIND."'))
    options = ["--env", "STAGE=a=b", "--var", "KIND=x"]
    command("start", file, "--id", "1", *options, "--socket", server.path)
    assert log(server, "1").endswith("\na=b x .\n")


def test_the_timeout_stops_the_job(command: Command, server: Server, step_file: Callable[..., Path]) -> None:
    options = ["--timeout", "2s", "--graceful-exit-delay", "50ms", "--follow"]
    ended = command("start", str(step_file("trap '' TERM; sleep 60")), *options, "--socket", server.path)
    assert ended.returncode == 1
    assert "stopped because the job's time was over" in ended.stderr
    (job,) = server.client.jobs()
    assert job.termination is not None
    assert job.termination.ended.forced


def test_follow_prints_the_log_alone_on_stdout(
    command: Command, server: Server, step_file: Callable[..., Path]
) -> None:
    ended = command("start", str(step_file("echo hello")), "--id", "1", "--follow", "--socket", server.path)
    assert (ended.returncode, ended.stdout) == (0, "Running step name=work\nhello\n")
    assert ended.stderr == 'started job "1"\n'


def test_follow_has_status_1_when_the_job_fails(
    command: Command, server: Server, step_file: Callable[..., Path]
) -> None:
    ended = command("start", str(step_file("exit 7")), "--follow", "--socket", server.path)
    assert ended.returncode == 1
    assert ended.stderr.endswith("exec: exit status 7\n")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{}\n---\nrun:\n  - name: a b\n    script: x\n", "job.yml:4:11: "),
        ("{}\n---\nrun:\n  - name: a\n    func: ./nowhere\n", "job.yml:5:11: "),
        ("{}\n---\nrun: [\n", "job.yml:"),
        ("spec: {inputs: {who: {type: string}}}\n---\nexec: {command: [pwd]}\n", '"who"'),
    ],
    ids=["name", "reference", "no YAML", "required input"],
)
def test_a_mistake_is_told_before_anything_is_sent(command: Command, tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "job.yml").write_text(text)
    ended = command("start", "job.yml", "--socket", "/nowhere", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert complaint in ended.stderr
    assert "no server" not in ended.stderr


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("gone.yml", "no such file"),
        ("job.txt", "job.txt: the name of a step file must end in .yml or .yaml"),
        ("${{x}}.yml", "an expression cannot stand in the path"),
    ],
    ids=["missing", "ending", "expression"],
)
def test_a_file_that_no_reference_can_name_is_refused(
    command: Command, tmp_path: Path, name: str, complaint: str
) -> None:
    if name != "gone.yml":
        (tmp_path / name).write_text("{}\n---\nexec: {command: [pwd]}\n")
    ended = command("start", name, cwd=tmp_path)
    assert ended.returncode == 1
    assert complaint in ended.stderr


def test_an_empty_id_is_refused(command: Command, step_file: Callable[[str], Path]) -> None:
    ended = command("start", str(step_file("true")), "--id", "", "--socket", "/nowhere")
    told = "Error: the id is empty: name the job behind --id, or leave that out for a new name\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", told)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("deploy/func.yml", "deploy"),
        ("deploy", "deploy"),
        ("my-job.v2.yml", "my_job_v2"),
        ("2nd.yml", "_2nd"),
        ('o"d\\d: é.yml', "o_d_d___"),
    ],
)
def test_the_step_is_named_after_the_file_and_called_by_its_absolute_path(
    path: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path(path, "func.yml") if path == "deploy" else Path(path)
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}\n---\nexec: {command: [pwd]}\n")
    specification, definition = yaml.safe_load_all(_steps(path))
    assert specification == {}
    assert definition == {"run": [{"name": name, "func": str(tmp_path / path)}]}
