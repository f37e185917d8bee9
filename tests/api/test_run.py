"""The jobs that Run starts, the requests that it refuses, and the answers of Status."""

from __future__ import annotations

import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.support.steps import command, run_list, script, shell

from step_runner.api.pb import step_pb2 as pb
from step_runner.errors import StepRunnerError
from step_runner.model import ErrorKind, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.api.conftest import Server

INPUT = {"inputs": {"age": {"type": "number"}}}


def refusal(server: Server, **fields: Any) -> str:
    """Return the text with which the server refuses a request."""
    with pytest.raises(grpc.RpcError) as caught:
        server.stub.Run(pb.RunRequest(**{"id": "refused", "steps": script("true"), **fields}))
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert [job for job in server.client.jobs() if job.id == "refused"] == []
    assert os.listdir(server.temporary) == []
    return str(caught.value.details())


def variable(key: str, value: str, **fields: Any) -> pb.Job:
    return pb.Job(variables=[pb.Variable(key=key, value=value, **fields)])


def test_long_refusal_keeps_its_beginning_and_end(server: Server) -> None:
    """gRPC refuses headers above 8 KiB. The end of a message holds the reason."""
    text = refusal(server, work_dir=f"/{'ä' * 3000}")
    assert text.startswith('initializing request: making the work dir "/ää')
    assert text.endswith('ä": File name too long')
    assert len(text.encode()) < 2100


# One job an id


def test_eight_runs_of_one_id_start_one_job(server: Server, work_dir: Path) -> None:
    """All calls succeed. The server reads a large text in a thread, so the calls overlap."""
    padding = "#" * 200_000
    with ThreadPoolExecutor(8) as threads:
        text = script("echo x >>started") + padding
        list(threads.map(lambda _: server.start(text, job_id="one", work_dir=str(work_dir)), range(8)))
    assert server.ended("one").status is Status.SUCCESS
    assert (work_dir / "started").read_text() == "x\n"
    assert [job.id for job in server.client.jobs()] == ["one"]


def test_run_of_existing_job_changes_nothing(server: Server) -> None:
    _, first = server.run("echo first", job_id="same")
    _, second = server.run("not even read: [", job_id="same")
    assert (first, second) == (b"first\n", b"first\n")


def test_id_is_free_after_close(server: Server) -> None:
    server.run("echo first", job_id="again")
    server.client.close("again")
    assert server.run("echo second", job_id="again")[1] == b"second\n"


def test_id_of_refused_run_is_free(server: Server) -> None:
    assert refusal(server, steps="[")
    assert server.run("true", job_id="refused")[0].status is Status.SUCCESS


def test_jobs_run_at_the_same_time(server: Server, work_dir: Path) -> None:
    os.mkfifo(work_dir / "gate")
    waiting = server.start_ready("echo ready; read line <gate", work_dir=str(work_dir))
    assert server.run("echo other")[1] == b"other\n"
    assert server.client.status(waiting).status is Status.RUNNING
    (work_dir / "gate").write_text("go on\n")
    assert server.ended(waiting).status is Status.SUCCESS


# Status


def test_status_lists_all_jobs(server: Server) -> None:
    assert server.client.jobs() == []
    ids = {server.start("true"), server.start("false")}
    assert {job.id for job in server.client.jobs()} == ids


def test_status_of_unknown_job_is_refused(server: Server) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.stub.Status(pb.StatusRequest(id="unknown"))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNKNOWN, 'no job with id "unknown"')


def test_status_gives_start_and_end_of_job(server: Server) -> None:
    before = time.time()
    job = server.start_ready("echo ready; sleep 1000 & wait")
    running = server.client.status(job)
    assert (running.status, running.message, running.kind, running.end_time) == (Status.RUNNING, "", None, None)
    server.client.cancel(job)
    ended = server.ended(job)
    assert running.start_time == ended.start_time
    assert ended.start_time is not None
    assert ended.end_time is not None
    assert before <= ended.start_time <= ended.end_time <= time.time()


def test_successful_job_has_neither_message_nor_error(server: Server) -> None:
    job = server.start("true")
    server.log(job)
    (status,) = server.stub.Status(pb.StatusRequest(id=job)).jobs
    assert (status.status, status.message) == (pb.StepResult.success, "")
    assert not status.HasField("error")
    assert not status.HasField("termination")


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (script("exit 3"), 'step "s1": exec: exit status 3'),
        (script("kill -9 $$"), 'step "s1": exec: signal: killed'),
        (script("kill -15 $$"), 'step "s1": exec: signal: terminated'),
        (command("false"), "exec: exit status 1"),
        (command("no-such-program"), 'exec: exec: "no-such-program": executable file not found in $PATH'),
        (command("/etc"), 'exec: exec: "/etc": permission denied: is it executable?'),
        (command("/dev/null"), 'exec: exec: "/dev/null": permission denied: is it executable?'),
        (command("/no/such"), 'exec: exec: "/no/such": no such file or directory'),
        (command(""), 'exec: exec: "": executable file not found in $PATH'),
        (command("a\0b"), r'exec: exec: "a\x00b": executable file not found in $PATH'),
        (command("true", work_dir="/no/such"), 'exec: the work dir "/no/such" does not exist'),
    ],
    ids=["status", "killed", "terminated", "top level", "missing", "directory", "not executable", "no file", "empty",
         "NUL", "work dir"],
)  # fmt: skip
def test_failed_command_gives_its_reason(server: Server, steps: str, message: str) -> None:
    ended, _ = server.run(steps)
    assert (ended.status, ended.kind, ended.termination) == (Status.FAILURE, ErrorKind.STEP_FAILURE, None)
    assert ended.message == message


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": command("echo", "${{ vars.NUL }}"), "variables": {"NUL": "a\0b"}},
        {"steps": script("echo '${{ vars.NUL }}'"), "variables": {"NUL": "a\0b"}},
        {"steps": command("true", env={"A": "a\0b"})},
        {"steps": command("true"), "env": {"A=B": "c"}},
        {"steps": command("echo", "\ud800")},
        {"steps": script("echo \ud800")},
        {"steps": command("true", env={"A": "\udc80\ud800"})},
    ],
    ids=["NUL in a word", "NUL in a script", "NUL in the environment", "name with =",
         "half a character", "half a character in a script", "half a character in the environment"],
)  # fmt: skip
def test_value_invalid_for_processes_is_an_error_of_the_user(server: Server, fields: dict[str, Any]) -> None:
    """The request is refused or fails the job; it never counts as an internal error of the step runner."""
    try:
        ended, _ = server.run(**fields)
    except StepRunnerError as error:
        refused = str(error)
    else:
        refused = ""
        assert (ended.status, ended.kind) == (Status.FAILURE, ErrorKind.STEP_FAILURE)
    assert refused == "" or refused.startswith("loading step: ")


def test_unknown_function_fails_job(server: Server, work_dir: Path) -> None:
    ended, _ = server.run(run_list({"name": "a", "step": "./none"}), work_dir=str(work_dir))
    assert (ended.status, ended.kind) == (Status.FAILURE, ErrorKind.STEP_FAILURE)
    assert ended.message.startswith('step "a": failed to load: ')


# Refused requests


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": ""}, "loading step: steps:1:1: "),
        ({"steps": "{}"}, "loading step: steps:1:1: "),
        ({"steps": "{}\n---\nrun: []"}, "loading step: steps:3:6: "),
        ({"steps": "{}\n---\nrun: [{name: a, step: 'x@'}]"}, "loading step: steps:3:"),
        ({"steps": script("true").replace("{}", "{", 1)}, "loading step: steps:"),
        (
            {"steps": command("true", spec=INPUT)},
            "failed to start step runner service: failed to parse spec definition:"
            ' input "age" required, but not defined',
        ),
        (
            {"job": variable("CI_STEPS_LOG_LEVEL", "LOUD")},
            "initializing global environment: log level: loud not supported",
        ),
        ({"work_dir": "/dev/null/x"}, 'initializing request: making the work dir "/dev/null/x": Not a directory'),
        ({"work_dir": "/tmp/\0"}, 'initializing request: making the work dir "/tmp/\0": '),
        ({"timeout": {"seconds": -1}}, "timeout is -1 s: it cannot be negative"),
        ({"graceful_exit_delay": {"nanos": -5}}, "graceful_exit_delay is -5e-09 s: it cannot be negative"),
    ],
    ids=["no text", "one document", "no steps", "reference", "YAML", "missing input", "log level", "work dir",
         "NUL", "timeout", "delay"],
)  # fmt: skip
def test_invalid_request_is_refused(server: Server, fields: dict[str, Any], message: str) -> None:
    """The request leaves no job and no file."""
    assert refusal(server, **fields).startswith(message)


def test_unknown_fields_are_ignored(server: Server) -> None:
    """Newer clients send fields that this server does not know."""
    known = pb.RunRequest(id="newer", steps=script("true"), work_dir=str(server.temporary.parent))
    unknown = bytes([0xFA, 0x3E, 3]) + b"abc"  # field 1007, length-delimited
    call = server.channel.unary_unary("/proto.StepRunner/Run")
    assert call(known.SerializeToString() + unknown) == b""
    assert server.ended("newer").status is Status.SUCCESS


def test_unknown_call_is_unimplemented(server: Server) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.channel.unary_unary("/proto.StepRunner/Dance")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# Directories


def test_build_dir_overrides_work_dir_and_is_created(server: Server, work_dir: Path) -> None:
    build_dir, unused = work_dir / "a/build", work_dir / "unused"
    request = pb.RunRequest(id="dirs", steps=script("pwd; echo ${{ work_dir }}"), work_dir=str(unused))
    request.job.build_dir = str(build_dir)
    server.stub.Run(request)
    assert server.log("dirs") == f"Running step name=s1\n{build_dir}\n{build_dir}\n".encode()
    assert stat.S_IMODE(build_dir.stat().st_mode) == 0o700
    assert not unused.exists()


def test_work_dir_applies_without_build_dir(server: Server, work_dir: Path) -> None:
    assert server.run("pwd", work_dir=str(work_dir / "x"))[1] == f"{work_dir / 'x'}\n".encode()


def test_work_dir_defaults_to_that_of_server(server: Server) -> None:
    assert server.run("pwd", work_dir="")[1] == f"{server.temporary.parent}\n".encode()


def test_temporary_files_are_private_and_removed_with_job(server: Server) -> None:
    """Only the owner can read the files of a job; they are removed with it."""
    job = server.start("true", job_id="private", variables={})
    server.ended(job)
    directory = server.temporary / "step-runner-output-private"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {
        "ledger": 0o600,
        "logs": 0o600,
    }
    server.client.close(job)
    assert not directory.exists()


# Variables


def test_variables_are_not_environment(server: Server) -> None:
    _, log = server.run('echo "${{ vars.KEY }} ${{ job.KEY }} [$KEY]"', variables={"KEY": "$HOME"}, env={"HOME": "/h"})
    assert log == b"/h /h []\n"


def test_last_variable_of_a_name_wins(server: Server) -> None:
    request = pb.RunRequest(id="twice", steps=command("echo", "${{ vars.A }}"))
    request.job.variables.add(key="A", value="first")
    request.job.variables.add(key="A", value="last")
    server.stub.Run(request)
    assert server.log("twice").endswith(b"\nlast\n")


@pytest.mark.parametrize("key", ["KEY", "logs", "steps", "a/b", "../../x", "..", ".", "", "k" * 300, "ä\n\0 *"])
def test_file_variable_is_a_private_file(server: Server, key: str) -> None:
    """`vars.KEY` is its path; with any name, the file is in the job's own directory."""
    content = "line\n\r\nü\0"
    steps = command("stat", "--format", "%a %n", f"${{{{ vars[{_quoted(key)}] }}}}")
    request = pb.RunRequest(id=f"file {key}", steps=steps)
    request.job.variables.add(key=key, value=content, file=True)
    request.job.variables.add(key="KEY", value="plain")
    if key == "KEY":
        del request.job.variables[1]
    before = set(os.listdir(server.temporary.parent))

    server.stub.Run(request)

    log = server.log(request.id).decode()
    assert server.client.status(request.id).message == ""
    mode, path = log.splitlines()[1].split(" ", 1)
    (directory,) = server.temporary.iterdir()
    assert mode == "600"
    assert Path(path).parent == directory / "variables"
    assert Path(path).read_bytes() == content.encode()
    assert set(os.listdir(server.temporary.parent)) == before
    server.client.close(request.id)
    assert not Path(path).exists()


def _quoted(key: str) -> str:
    import json

    return json.dumps(key, ensure_ascii=False)


def test_file_variables_with_similar_names_keep_apart(server: Server) -> None:
    request = pb.RunRequest(id="apart", steps=command("cat", "${{ vars.one }}", "${{ vars.two }}"))
    keys = ("a/b", "a%2Fb", "A", "a", ".", "%2E", "one", "two", "k" * 200, "k" * 200 + "l")
    for key in keys:
        request.job.variables.add(key=key, value=f"{key}\n", file=True)
    server.stub.Run(request)
    assert server.log("apart").endswith(b"\none\ntwo\n")
    files = server.temporary / "step-runner-output-apart/variables"
    assert {path.read_text() for path in files.iterdir()} == {f"{key}\n" for key in keys}


def test_masked_variable_reaches_scripts_and_commands(server: Server) -> None:
    request = pb.RunRequest(
        id="masked", steps=command("echo", "${{ vars.TOKEN }}"), job=variable("TOKEN", "t0p", masked=True)
    )
    server.stub.Run(request)
    assert server.log("masked").endswith(b"\nt0p\n")


def test_masked_variable_needs_sensitive_input(server: Server, work_dir: Path) -> None:
    """A masked variable cannot be the value of an input that is not declared as sensitive."""
    spec = {"inputs": {"token": {"type": "string"}}}
    (work_dir / "step.yml").write_text(shell("true", spec=spec))
    steps = run_list({"name": "a", "step": "./", "inputs": {"token": "${{ vars.TOKEN }}"}})
    request = pb.RunRequest(
        id="secret", steps=steps, work_dir=str(work_dir), job=variable("TOKEN", "t0p", masked=True, file=False)
    )
    server.stub.Run(request)
    message = server.ended("secret").message
    assert 'assign input "token": non-sensitive input cannot derive value using sensitive value(s)' in message
    assert "t0p" not in message


# Environment and log level


def test_environment_of_request_overrides_that_of_server(serve: Callable[..., Server]) -> None:
    server = serve(env={"ONE": "server", "TWO": "server"})
    assert server.run('echo "$ONE $TWO"', env={"TWO": "request"})[1] == b"server request\n"


def test_steps_know_socket_of_server(server: Server) -> None:
    assert server.run("echo $STEP_RUNNER_SOCKET")[1] == f"{server.path}\n".encode()


@pytest.mark.parametrize(
    ("variables", "env", "expected"),
    [
        ({}, {}, "info"),
        ({"CI_STEPS_LOG_LEVEL": " DEBUG "}, {}, "debug"),
        ({"CI_STEPS_LOG_LEVEL": "  "}, {}, "info"),
        ({"CI_STEPS_LOG_LEVEL": "warn"}, {"CI_STEPS_LOG_LEVEL": "own"}, "own"),
    ],
    ids=["default", "trimmed", "blank", "environment of the request"],
)
def test_log_level_comes_from_request(
    server: Server, variables: dict[str, str], env: dict[str, str], expected: str
) -> None:
    _, log = server.run("echo $CI_STEPS_LOG_LEVEL", variables=variables, env=env)
    assert log == f"{expected}\n".encode()


def test_log_level_defaults_to_environment_of_server(serve: Callable[..., Server]) -> None:
    server = serve(env={"CI_STEPS_LOG_LEVEL": "Error"})
    assert server.run("echo $CI_STEPS_LOG_LEVEL")[1] == b"error\n"
    assert server.run("echo $CI_STEPS_LOG_LEVEL", variables={"CI_STEPS_LOG_LEVEL": "warn"})[1] == b"warn\n"


def test_debugging_server_shows_line_in_message(serve: Callable[..., Server]) -> None:
    server = serve(env={"CI_STEPS_DEBUG": "true"})
    assert server.run("echo wrong >${{ output_file }}")[0].message.endswith(", line: wrong")


def test_client_says_how_to_start_a_server(temporary: str) -> None:
    from step_runner.api.client import Client

    with pytest.raises(StepRunnerError, match="no server listens on"):
        Client(f"{temporary}/none.sock")
