"""Rules for all commands: help, exit statuses, usage errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.here import step_runner

from step_runner import __version__
from step_runner.cli.names import COMMANDS, SERVER

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., subprocess.CompletedProcess[str]]

CLEANUP = Path(__file__).parents[2] / "examples/cleanup"

EVERY = [(name,) for name in COMMANDS] + [("steps", name) for name in SERVER]


@pytest.mark.parametrize("names", EVERY, ids=" ".join)
def test_help_of_every_command_has_example_of_it(command: Command, names: tuple[str, ...]) -> None:
    ended = command(*names, "--help")
    assert ended.returncode == 0
    assert f"step-runner {names[-1]}" in ended.stdout.partition("Examples:")[2]
    assert ended.stderr == ""


@pytest.mark.parametrize("names", [(), ("steps",)], ids=" ".join)
def test_missing_command_prints_usage_on_stderr_with_status_2(command: Command, names: tuple[str, ...]) -> None:
    """GitLab Runner takes status 0 for a job that has done its work."""
    ended = command(*names)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"Usage: {' '.join(('step-runner', *names))} ")
    assert all(name in ended.stderr for name in (SERVER if names else COMMANDS))


def test_version_is_printed(command: Command) -> None:
    assert command("--version").stdout == f"step-runner {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["fly"], "No such command 'fly'"),
        (["steps", "fly"], "No such command 'fly'"),
        (["serv"], "No such command 'serv'. Did you mean 'serve'?"),
        (["jobs", "--fast"], "No such option"),
        (["cancel"], "Missing argument 'ID'"),
        (["start", "x.yml", "--timeout", "soon"], '"soon" is not a duration'),
        (["start", "x.yml", "--env", "=A"], "key=value"),
    ],
    ids=["command", "command of steps", "misspelt command", "option", "argument", "duration", "pair"],
)
def test_usage_error_goes_to_stderr_with_status_1(command: Command, arguments: list[str], complaint: str) -> None:
    ended = command(*arguments)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Error: ")
    assert complaint in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [["jobs"], ["logs", "1"], ["logs", "1", "--follow"], ["cancel", "1"], ["close", "1"], ["start", str(CLEANUP)]],
    ids=lambda arguments: arguments[0],
)
def test_missing_server_error_says_how_to_start_one(command: Command, arguments: list[str], temporary: str) -> None:
    ended = command(*arguments)
    advice = f"start one with: step-runner serve --socket {temporary}/step-runner.sock"
    assert ended.stderr == f"Error: no server listens on {temporary}/step-runner.sock: {advice}\n"
    assert (ended.returncode, ended.stdout) == (1, "")


@pytest.mark.parametrize("arguments", [["--help"], ["proxy", "--socket", "/nowhere"]], ids=["help", "proxy"])
def test_fast_commands_import_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys; from step_runner.cli.supervision import run; run(sys.argv[1:]); "
        "print(*{'grpc', 'asyncio', 'yaml', 'ssl', 'msgspec', 'subprocess', 'rich'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize("arguments", [["run", "hello.yml"], ["serve"]], ids=" ".join)
def test_supervisor_imports_nothing_heavy(arguments: list[str]) -> None:
    """The supervisor needs no memory for the work of the worker, nor for reading the arguments."""
    program = (
        "import sys; from step_runner.imports import delay_seldom_used; delay_seldom_used(); import gracefulexitcmd; "
        "from step_runner.cli.supervision import run; "
        "gracefulexitcmd.supervise = lambda *_, **__: print(*set(sys.modules) "
        "& {'grpc', 'asyncio', 'yaml', 'ssl', 'click', 'typing', 're'}); "
        "run(sys.argv[1:])"
    )
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert ended.stdout == "\n"


@pytest.mark.parametrize("words", [[], ["run"], ["schema"], ["steps", "serve"]], ids=" ".join)
def test_short_option_shows_help(words: list[str]) -> None:
    """`-h` is `--help`, for every command."""
    assert step_runner(*words, "-h") == step_runner(*words, "--help")
    assert "-h, --help" in step_runner(*words, "-h").stdout
