"""The commands by name. Only the chosen command is imported, so that `--help` is instant."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

import click

from step_runner import __version__, shown
from step_runner.cli.names import COMMANDS, SERVER
from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from step_runner.cli.supervision import Supervisor

NO_COMMAND = 2
"""The exit status if no command is given."""


class Commands(click.Group):
    """A group that imports a command when it is chosen."""

    def __init__(self, entries: dict[str, str], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._entries = entries
        _move_examples(self)

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(self._entries)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in self._entries:
            return super().get_command(_context, name)
        command: click.Command = importlib.import_module(f"step_runner.cli.{name}").command
        _move_examples(command)
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(context, args)
        except click.UsageError as error:
            from step_runner.spelling import nearest  # most commands are known

            near = nearest(args[0], self._entries)
            proposal = "" if near is None else f" Did you mean '{near}'?"
            raise click.UsageError(error.message + proposal, error.ctx) from None

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self._entries.items()))


def _move_examples(command: click.Command) -> None:
    """Show the examples at the end of a command's docstring after its options."""
    command.help, heading, examples = inspect.cleandoc(command.help or "").partition("\n\nExamples:\n")
    if heading:
        command.epilog = f"\b{heading[1:]}{examples}"


def run(words: Sequence[str], supervisor: Supervisor) -> int:
    """Run the command that the words name. Return the exit status.

    A command returns its own status, None for 0. Usage errors have status 1, as callers of GitLab's step-runner
    expect. A start without a command has NO_COMMAND: a container that lost its arguments must not look successful.
    """
    try:
        status = commands.main(list(words), prog_name="step-runner", standalone_mode=False, obj=supervisor)
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


@click.group(cls=Commands, entries=SERVER, name="steps", subcommand_metavar="COMMAND")
def steps() -> None:
    """Serve, proxy and bootstrap, under the name that GitLab's executors use.

    Examples:
      step-runner steps serve
      step-runner steps proxy
    """


@click.group(
    cls=Commands,
    entries=COMMANDS,
    subcommand_metavar="COMMAND",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="step-runner %(version)s")
def commands() -> None:
    """Runs GitLab CI functions and ends them gracefully.

    Examples:
      step-runner run ./examples/release
      step-runner serve &
      step-runner start ./examples/cleanup --id 1
      step-runner cancel 1 --wait
    """


commands.add_command(steps)
