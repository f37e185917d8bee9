"""Secrets of a job do not appear in arguments, messages, statuses or the runner's own lines of the log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tests.support.steps import command, run_list, script, shell

from step_runner.api.pb import step_pb2 as pb
from step_runner.model import Status

if TYPE_CHECKING:
    from pathlib import Path

    from tests.api.conftest import Server

TOKEN = "hunter2-hunter2"


def run(server: Server, job_id: str, steps: str, work_dir: str = "") -> None:
    """Start a job with a masked variable and a grace period of half a second."""
    job = pb.Job(variables=[pb.Variable(key="TOKEN", value=TOKEN, masked=True)])
    delay = Duration(nanos=500_000_000)
    server.stub.Run(pb.RunRequest(id=job_id, steps=steps, job=job, work_dir=work_dir, graceful_exit_delay=delay))


def test_secret_of_a_script_is_in_no_argument(server: Server) -> None:
    """ps(1) shows arguments to every user of the machine."""
    run(server, "argv", script("echo ${{ vars.TOKEN }}; tr '\\0' ' ' </proc/$$/cmdline"))
    log = server.log("argv").decode()
    assert server.client.status("argv").status is Status.SUCCESS
    assert log.count(TOKEN) == 1
    assert f"{server.temporary}/step-runner-output-argv/script-" in log


def test_exported_secret_in_a_script_is_in_no_argument(server: Server) -> None:
    """An exported value no longer comes from a masked variable; its text alone shows that it is secret."""
    export = json.dumps({"name": "COPY", "value": "${{ vars.TOKEN }}"})
    first = {"name": "a", "script": f"echo '{export}' >${{{{ export_file }}}}"}
    last = {"name": "b", "script": "echo ${{ env.COPY }}; tr '\\0' ' ' </proc/$$/cmdline"}
    run(server, "exported", run_list(first, last))
    log = server.log("exported").decode()
    assert server.client.status("exported").status is Status.SUCCESS
    assert log.count(TOKEN) == 1


def test_script_without_secret_is_an_argument(server: Server) -> None:
    run(server, "plain", script("tr '\\0' ' ' </proc/$$/cmdline"))
    assert b" -c tr " in server.log("plain")


@pytest.mark.parametrize(
    "steps",
    [
        command("${{ vars.TOKEN }}"),
        command("true", work_dir="${{ vars.TOKEN }}"),
        run_list({"name": "a", "step": "./${{ vars.TOKEN }}"}),
    ],
    ids=["command", "work dir", "reference"],
)
def test_masked_variable_is_hidden_in_messages(server: Server, work_dir: Path, steps: str) -> None:
    run(server, "messages", steps, work_dir=str(work_dir))
    message = server.ended("messages").message
    assert TOKEN not in message
    assert "***" in message
    assert TOKEN.encode() not in server.log("messages")


def test_sensitive_output_is_hidden_in_messages(server: Server, work_dir: Path) -> None:
    spec = {"outputs": {"token": {"type": "string", "sensitive": True}}}
    write = json.dumps({"name": "token", "value": TOKEN})
    (work_dir / "step.yml").write_text(shell(f"echo '{write}' >${{{{ output_file }}}}", spec=spec))
    last = {"name": "b", "step": "./${{ steps.a.outputs.token }}"}
    run(server, "outputs", run_list({"name": "a", "step": "./"}, last), work_dir=str(work_dir))
    message = server.ended("outputs").message
    assert TOKEN not in message
    assert "***" in message


def test_masked_variable_is_hidden_in_record_of_stop(server: Server, work_dir: Path) -> None:
    """The record and the log name the killed processes with their arguments."""
    run(server, "stopped", command("sh", "-c", "trap '' TERM; echo ready; sleep 1000", "${{ vars.TOKEN }}"))
    server.wait_for("stopped", b"ready\n")
    server.stub.Cancel(pb.CancelRequest(id="stopped"))
    termination = server.ended("stopped").termination
    assert termination is not None
    words = [word for process in termination.ended.census for word in process.argv]
    assert TOKEN not in words
    assert "***" in words


@pytest.mark.parametrize(
    "steps",
    [
        command("x\nError: forged\x1b[2J"),
        command("true", work_dir="x\nError: forged\x1b[2J"),
        script('echo \'{"name": "x\\nError: forged\\u001b[2J", "value": [1]}\' >${{ export_file }}'),
    ],
    ids=["command", "work dir", "export"],
)
def test_word_of_a_file_forges_no_line_of_a_message(server: Server, steps: str) -> None:
    run(server, "words", steps)
    message = server.ended("words").message
    assert "Error: forged\\x1b[2J" in message
    assert message.isprintable()


def test_name_in_a_file_forges_no_line_of_a_message(server: Server) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        run(server, "forged", run_list({"name": "b\nforged\x1b[2J", "script": "true"}))
    details = raised.value.details()
    assert "b\\nforged\\x1b[2J" in details
    assert details.isprintable()
