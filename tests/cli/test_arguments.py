"""The arguments that GitLab Runner 19 puts into a variable, in case a container's entry point drops them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from step_runner import __version__
from step_runner.api.client import Client
from step_runner.cli.arguments import VARIABLE
from step_runner.model import RunRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., subprocess.CompletedProcess[str]]


def encoded(arguments: object) -> str:
    return base64.b64encode(json.dumps(arguments).encode()).decode()


def with_variable(value: str) -> dict[str, str]:
    return {**os.environ, VARIABLE: value}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["step-runner", "--version"],
        ["/opt/gitlab-runner/gitlab-runner-helper", "--version"],
    ],
    ids=["arguments", "name and arguments", "path and arguments"],
)
def test_variable_supplies_missing_arguments(command: Command, arguments: list[str]) -> None:
    ended = command(env=with_variable(encoded(arguments)))
    assert (ended.returncode, ended.stdout) == (0, f"step-runner {__version__}\n")


def test_arguments_of_command_line_override_variable(command: Command) -> None:
    assert command("--version", env=with_variable(encoded(["fly"]))).stdout.startswith("step-runner ")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("?", "Only base64 data is allowed"),
        (base64.b64encode(b"[").decode(), "Expecting value"),
        (base64.b64encode(b"\xff").decode(), "'utf-8' codec can't decode"),
        (encoded({"steps": "serve"}), "it is not a list of strings"),
        (encoded(["steps", 1]), "it is not a list of strings"),
    ],
    ids=["no base64", "no JSON", "no text", "no list", "no strings"],
)
def test_variable_in_another_form_is_refused(command: Command, value: str, reason: str) -> None:
    ended = command(env=with_variable(value))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"Error: {VARIABLE} is not base64 of a JSON list of arguments: {reason}")


@pytest.mark.parametrize("value", ["", encoded([])], ids=["empty variable", "empty list"])
def test_variable_without_arguments_prints_usage(command: Command, value: str) -> None:
    ended = command(env=with_variable(value))
    assert ended.returncode == 2
    assert ended.stderr.startswith("Usage: step-runner ")


def test_entry_point_that_drops_arguments_still_serves(temporary: str) -> None:
    """The shell of `sh -c` runs only the first word after it; steps do not see the variable."""
    path = os.path.join(temporary, "step-runner.sock")
    lost = ["sh", "-c", f"exec {sys.executable} -m step_runner", "steps", "serve"]
    with subprocess.Popen(lost, env=with_variable(encoded(["steps", "serve"])), stderr=subprocess.PIPE) as server:
        assert server.stderr is not None
        assert server.stderr.readline() == f"step-runner is listening on socket {path}\n".encode()
        with Client(path) as client:
            client.run(RunRequest(id="1", steps="{}\n---\nexec: {command: [env]}\n"))
            assert VARIABLE.encode() not in b"".join(client.follow("1"))
        server.terminate()
