"""The commands by name. Only the chosen command is imported, so that `--help` is instant."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

import click

from step_runner import __version__, shown
from step_runner.cli.arguments import effective
from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    from collections.abc import Sequence


SERVER = {
    "serve": "Serve the API on a unix socket",
    "proxy": "Pass bytes between stdin, stdout and a server's socket",
    "bootstrap": "Copy this program to another place",
}

COMMANDS = {
    "run": "Run a function on this machine",
    "report": "Make an HTML page from a report",
    "check": "Find mistakes in step files",
    "completion": "Print the completion script of a shell",
    "schema": "Print the JSON Schema of step files",
    "ci": "Run the steps of a CI job's variable STEPS",
    **SERVER,
    "start": "Start a job on a server",
    "jobs": "List the jobs of a server",
    "logs": "Print the log of a job",
    "cancel": "Ask a job to stop gracefully",
    "close": "Stop a job, and remove its log and files",
}
"""The commands with a short description; each is `command` in the module of its name in this package."""

NO_COMMAND = 2
"""The exit status if no command is given."""

EPILOG = """\b
Examples:
  step-runner run ./examples/release
  step-runner serve &
  step-runner start ./examples/cleanup --id 1
  step-runner cancel 1 --wait"""


class Commands(click.Group):
    """A group that imports a command when it is chosen."""

    def __init__(self, entries: dict[str, str], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._entries = entries

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(self._entries)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in self._entries:
            return super().get_command(_context, name)
        command: click.Command = importlib.import_module(f"step_runner.cli.{name}").command
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self._entries.items()))


def run(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name. Return the exit status.

    A command returns its own status, None for 0. Usage errors have status 1, as callers of GitLab's step-runner
    expect. A start without a command has NO_COMMAND: a container that lost its arguments must not look successful.
    """
    try:
        words = effective(arguments, os.environ, {*COMMANDS, "steps"})
        status = commands.main(list(words), prog_name="step-runner", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return NO_COMMAND
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "step-runner"
        click.echo(f"Error: {shown.lines(error.format_message())}\nTry '{path} --help'", err=True)
        return 1
    except (click.ClickException, StepRunnerError) as error:
        click.echo(f"Error: {shown.message(str(error))}", err=True)
        return getattr(error, "exit_status", 1)
    except click.Abort:
        import signal  # enums take a millisecond, which `--help` need not wait for

        return 128 + signal.SIGINT
    return status or 0


STEPS_EPILOG = """\b
Examples:
  step-runner steps serve
  step-runner steps proxy"""


@click.group(cls=Commands, entries=SERVER, name="steps", epilog=STEPS_EPILOG, subcommand_metavar="COMMAND")
def steps() -> None:
    """Serve, proxy and bootstrap, under the name that GitLab's executors use."""


@click.group(
    cls=Commands,
    entries=COMMANDS,
    epilog=EPILOG,
    subcommand_metavar="COMMAND",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="step-runner %(version)s")
def commands() -> None:
    """Runs GitLab CI functions and ends them gracefully."""


commands.add_command(steps)
