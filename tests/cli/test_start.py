from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.cli.conftest import COMMAND

from step_runner.cli import run, start
from step_runner.cli.request import text_of
from step_runner.cli.source import Named, called
from step_runner.functions.loader import load_function
from step_runner.model import Sequence, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Server

    Command = Callable[..., subprocess.CompletedProcess[str]]


def log(server: Server, job_id: str) -> str:
    return b"".join(server.client.follow(job_id)).decode()


def test_start_says_how_to_follow_and_cancel(command: Command, server: Server, step_file: Callable[..., Path]) -> None:
    ended = command("start", str(step_file("echo hello")), "--id", "a b", "--socket", server.path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        'started job "a b"',
        f"follow it: step-runner logs 'a b' --follow --socket {server.path}",
        f"cancel it: step-runner cancel 'a b' --wait --socket {server.path}",
    ]
    assert log(server, "a b").endswith("\nhello\n")


def test_start_makes_missing_id(command: Command, server: Server, step_file: Callable[..., Path]) -> None:
    file = str(step_file("echo hello"))
    printed = [command("start", file, "--socket", server.path).stdout for _ in range(2)]
    ids = {re.match(r'started job "(\w+)"', text)[1] for text in printed}  # type: ignore[index]
    assert ids == {job.id for job in server.client.jobs()}
    assert len(ids) == 2


def test_taken_id_is_refused(command: Command, server: Server, step_file: Callable[..., Path]) -> None:
    file = str(step_file("echo ready"))
    server.started(Path(file))
    ended = command("start", file, "--id", "1", "--socket", server.path)
    assert (ended.returncode, ended.stdout) == (1, "")
    close = f"step-runner close 1 --socket {server.path}"
    assert ended.stderr == f'Error: a job with id "1" exists already: close it with: {close}\n'


def test_references_start_at_file_and_steps_at_current_dir(command: Command, server: Server, tmp_path: Path) -> None:
    """References are relative to the file, and steps run in the current directory."""
    (tmp_path / "outer/inner").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (tmp_path / "outer/func.yml").write_text("{}\n---\nrun:\n  - name: call\n    func: ./inner\n")
    (tmp_path / "outer/inner/func.yml").write_text("{}\n---\nexec:\n  command: [pwd]\n")
    command("start", "../outer", "--id", "1", "--socket", server.path, cwd=tmp_path / "here")
    assert log(server, "1").endswith(f"\n{tmp_path}/here\n")


def test_environment_and_variables_reach_steps(
    command: Command, server: Server, step_file: Callable[..., Path]
) -> None:
    file = str(step_file('echo "$STAGE ${{ vars.KIND }} $KIND."'))
    options = ["--env", "STAGE=a=b", "--var", "KIND=x"]
    command("start", file, "--id", "1", *options, "--socket", server.path)
    assert log(server, "1").endswith("\na=b x .\n")


def test_timeout_stops_job(command: Command, server: Server, step_file: Callable[..., Path]) -> None:
    options = ["--timeout", "2s", "--graceful-exit-delay", "50ms", "--follow"]
    ended = command("start", str(step_file("trap '' TERM; sleep 60")), *options, "--socket", server.path)
    assert ended.returncode == 143
    assert "stopped because the job's timeout was reached" in ended.stderr
    (job,) = server.client.jobs()
    assert job.termination is not None
    assert job.termination.ended.forced


def test_follow_prints_only_log_on_stdout(command: Command, server: Server, step_file: Callable[..., Path]) -> None:
    ended = command("start", str(step_file("echo hello")), "--id", "1", "--follow", "--socket", server.path)
    assert (ended.returncode, ended.stdout) == (0, "Running step name=work\nhello\n")
    assert ended.stderr == 'started job "1"\n'


@pytest.mark.parametrize(
    ("script", "status", "end"),
    [
        ("true", 0, 'started job "1"\n'),
        ("exit 7", 7, "exec: exit status 7\n"),
        ("kill -KILL $$", 137, "exec: signal: killed\n"),
        ("echo ${{ vars.NONE }}", 1, "^~~~~\n"),
    ],
    ids=["success", "status", "signal", "expression"],
)
def test_follow_has_exit_status_of_run(
    command: Command, server: Server, step_file: Callable[..., Path], script: str, status: int, end: str
) -> None:
    """`start --follow` ends with the status that `run` would have."""
    file = str(step_file(script))
    ended = command("start", file, "--id", "1", "--follow", "--socket", server.path)
    assert (ended.returncode, ended.stderr[-len(end) :]) == (status, end)
    assert command("run", file).returncode == status


def test_follow_of_cancelled_job_has_status_of_sigterm(server: Server, step_file: Callable[..., Path]) -> None:
    """A job that another client cancels was stopped by SIGTERM."""
    with following(server, step_file("echo ready; exec sleep 60")) as process:
        server.client.cancel("1")
        _, errors = process.communicate()
    assert process.returncode == 143
    assert 'Error: job "1" cancelled: ' in errors


def test_interrupted_follow_says_how_to_cancel_job(server: Server, step_file: Callable[..., Path]) -> None:
    """Ctrl-C ends the following alone, and says so."""
    with following(server, step_file("echo ready; exec sleep 60")) as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    advice = f"step-runner cancel 1 --wait --socket {server.path}"
    assert errors == f'started job "1"\njob "1" is still running; cancel it: {advice}\n'
    assert server.client.jobs()[0].status is Status.RUNNING


@contextlib.contextmanager
def following(server: Server, file: Path) -> Iterator[subprocess.Popen[str]]:
    """`start --follow`, once the job has written `ready`."""
    arguments = [*COMMAND, "start", str(file), "--id", "1", "--follow", "--socket", server.path]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            while process.stdout.readline() != "ready\n":
                pass
            yield process
        finally:
            process.kill()


TAKES = """\
spec:
  inputs:
    text: {type: string}
    count: {type: number, default: 0}
---
exec:
  command: [printf, "<%s>", "${{ inputs.text }}", "${{ inputs.count }}"]
"""


def test_inputs_reach_the_function(command: Command, server: Server, tmp_path: Path) -> None:
    """`start` takes inputs as `run` does: the text as typed for a string, YAML for others."""
    (tmp_path / "job.yml").write_text(TAKES)
    options = ["--inputs", "text=1.10", "--inputs", "count=0x10", "--follow", "--socket", server.path]
    ended = command("start", "job.yml", *options, cwd=tmp_path)
    assert ended.stdout.splitlines()[-1] == "<1.10><16>"


def test_inputs_hold_expressions(command: Command, server: Server, tmp_path: Path) -> None:
    """The server expands them with the job's variables."""
    (tmp_path / "job.yml").write_text(TAKES)
    options = ["--inputs", "text=v ${{ vars.N }}", "--job", "N=5", "--follow", "--socket", server.path]
    ended = command("start", "job.yml", *options, cwd=tmp_path)
    assert ended.stdout.splitlines()[-1] == "<v 5><0>"


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ([], 'requires an input "text", a string; add --inputs text=VALUE'),
        (["text=x", "count=many"], 'input "count" is a string, but its declared type is number'),
        (["text=x", "cuont=1"], 'takes no input "cuont"; did you mean "count"?'),
    ],
)
def test_wrong_inputs_are_refused_before_any_request(
    command: Command, tmp_path: Path, inputs: list[str], sentence: str
) -> None:
    """An invalid input is reported at once, without a job."""
    (tmp_path / "job.yml").write_text(TAKES)
    options = [word for one in inputs for word in ("--inputs", one)]
    ended = command("start", "job.yml", *options, "--socket", "/nowhere", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.endswith(f"{sentence}\n")


def test_options_of_start_equal_those_of_run() -> None:
    """An option of both commands has the same name and the same description."""
    options = [
        {(name, parameter.help) for parameter in command.params for name in parameter.opts if name.startswith("--")}
        for command in (run.command, start.command)
    ]
    shared = {name for name, _ in options[0] & options[1]}
    assert shared >= {"--inputs", "--env", "--job", "--timeout", "--git-url", "--oci-registry"}
    assert shared | {"--graceful-exit-delay"} >= {name for name, _ in options[0]} & {name for name, _ in options[1]}


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
def test_mistake_is_reported_before_any_request(command: Command, tmp_path: Path, text: str, complaint: str) -> None:
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
        ("${{x}}.yml", "the path of a file cannot hold an expression"),
    ],
    ids=["missing", "ending", "expression"],
)
def test_file_without_valid_reference_is_refused(command: Command, tmp_path: Path, name: str, complaint: str) -> None:
    if name != "gone.yml":
        (tmp_path / name).write_text("{}\n---\nexec: {command: [pwd]}\n")
    ended = command("start", name, cwd=tmp_path)
    assert ended.returncode == 1
    assert complaint in ended.stderr


def test_empty_id_is_refused(command: Command, step_file: Callable[[str], Path]) -> None:
    ended = command("start", str(step_file("true")), "--id", "", "--socket", "/nowhere")
    told = "Error: the id is empty: write a name after --id, or leave --id out\n"
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
def test_step_has_name_of_file_and_its_absolute_path(
    path: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is named after the file, and calls it by its absolute path."""
    monkeypatch.chdir(tmp_path)
    file = Path(path, "func.yml") if path == "deploy" else Path(path)
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}\n---\nexec: {command: [pwd]}\n")
    specification, definition = yaml.safe_load_all(text_of(called(Named(reference=path))))
    assert specification == {}
    assert definition == {"run": [{"name": name, "func": str(tmp_path / path)}]}


def test_text_outside_utf_8_is_refused(command: Command, server: Server, step_file: Callable[..., Path]) -> None:
    """The wire carries UTF-8 alone, so the client says which text it cannot send."""
    ended = command("start", str(step_file("true")), "--env", "A=x\udcff", "--socket", server.path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "x\\udcff" in ended.stderr
    assert ended.stderr.endswith(" is not valid UTF-8: a server accepts only UTF-8\n")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with the function TAKES in the directory `takes`, at the tag v1."""
    for name, value in {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{f"GIT_{role}_{part}": "x@localhost" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")},
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "cache").mkdir(mode=0o700)
    directory = tmp_path / "repository"
    (directory / "takes").mkdir(parents=True)
    (directory / "takes/func.yml").write_text(TAKES)
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"], ["tag", "v1"]):
        subprocess.run(["git", *command], cwd=directory, check=True)
    return directory


def test_start_calls_function_of_a_repository(command: Command, repository: Path, server: Server) -> None:
    """It takes the options of `run` that name one; a typed input has the type that is declared there."""
    where = ["--git-url", repository.as_uri(), "--git-rev", "v1", "--git-dir", "takes"]
    inputs = ["--inputs", "text=1.10", "--inputs", "count=0x10"]
    ended = command("start", *where, *inputs, "--follow", "--socket", server.path)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "<1.10><16>"), ended.stderr


def test_wrong_input_of_fetched_function_is_refused(command: Command, repository: Path) -> None:
    """Its inputs are known before anything is sent."""
    where = ["--git-url", repository.as_uri(), "--git-rev", "v1", "--git-dir", "takes"]
    ended = command("start", *where, "--inputs", "txt=1", "--socket", "/nowhere")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[0].endswith('"takes" takes no input "txt"; did you mean "text"?')


def test_start_takes_item_of_run_list(command: Command, server: Server, tmp_path: Path) -> None:
    """Inputs and variables that were typed win over those of the item."""
    (tmp_path / "job.yml").write_text(TAKES.replace("inputs.count", "env.A"))
    item = 'func: ./job.yml\ninputs: {text: "a: ${{ vars.N }}"}\nenv: {A: x}'
    options = ["--job", "N=5", "--env", "A=<${{ vars.N }}>", "--follow"]
    ended = command("start", item, *options, "--socket", server.path, cwd=tmp_path)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "<a: 5><<5>>"), ended.stderr


@pytest.mark.parametrize(
    ("reference", "call"),
    [
        ("https://h.org/a/b/-/c@v1", {"git": {"url": "https://h.org/a/b", "rev": "v1", "dir": "steps/c"}}),
        (
            "h.org/a/b:1 c/d.yml",
            {"oci": {"registry": "h.org", "repository": "a/b", "tag": "1", "dir": "c", "file": "d.yml"}},
        ),
        ("builtin://docker/auth", "builtin://docker/auth"),
        ("./${{ vars.X }}", "./${{ vars.X }}"),
    ],
)
def test_sent_text_means_same_reference(reference: str, call: Any) -> None:
    """A server reads the reference of the command line."""
    what = called(Named(reference=reference))
    _, definition = yaml.safe_load_all(text_of(what))
    assert definition["run"][0]["func"] == call
    function = load_function(text_of(what), file="sent", directory="")[0]
    assert isinstance(function.body, Sequence)
    assert function.body.steps[0].call == what.step.call


def test_typed_input_of_dynamic_reference_is_refused(command: Command) -> None:
    """Its type is not known before the job runs."""
    ended = command("start", "./${{ vars.X }}", "--inputs", "a=1", "--socket", "/nowhere")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith('Error: the types of the inputs of "./${{ vars.X }}" are not known here: ')


@pytest.mark.parametrize(
    ("given", "sentence"), [("text=1", "is a number"), ("text=[1]", "is an array"), ("", "an array;")]
)
def test_types_are_named_with_their_article(command: Command, tmp_path: Path, given: str, sentence: str) -> None:
    """The message about an input is correct English."""
    declared = "struct" if given == "text=[1]" else "array"
    (tmp_path / "job.yml").write_text(TAKES.replace("{type: string}", f"{{type: {declared}}}"))
    ended = command("start", "job.yml", *(["--inputs", given] if given else []), cwd=tmp_path)
    assert sentence in ended.stderr


def test_interrupt_ends_fetch_of_start(tmp_path: Path) -> None:
    """The silence of a server, which may last 30 s, delays no Ctrl-C."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        arguments = [*COMMAND, "start", "--git-url", url, "--git-rev", "v1", "--inputs", "a=1"]
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
        with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment) as process:
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=15)
    assert (process.returncode, errors) == (130, "\n" if errors else "")


def test_interrupt_of_start_ends_credential_helper(tmp_path: Path) -> None:
    """A helper that waits for a password, for example, does not outlive the command."""
    helper, fifo = tmp_path / "docker-credential-slow", tmp_path / "fifo"
    os.mkfifo(fifo)
    helper.write_text(f"#!/bin/sh\nexec sleep 1000 > {fifo}\n")
    helper.chmod(0o755)
    environment = {
        **os.environ,
        "DOCKER_AUTH_CONFIG": '{"credHelpers": {"127.0.0.1:1": "slow"}}',
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(tmp_path),
    }
    arguments = [*COMMAND, "start", "127.0.0.1:1/x/y:1", "--inputs", "a=1"]
    # The open of the FIFO waits until the helper has started.
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL, env=environment) as process, fifo.open("rb") as held:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        os.set_blocking(held.fileno(), False)
        assert held.read() == b""  # None while the helper has it open
