"""Options that several commands share."""

from __future__ import annotations

import os

import click

from step_runner.errors import StepRunnerError

GRACE_VARIABLE = "STEP_RUNNER_GRACEFUL_EXIT_DELAY"
SOCKET_VARIABLE = "STEP_RUNNER_SOCKET"

DEFAULT_GRACE = 30.0
"""Seconds between the stop signal and SIGKILL where nobody says another time."""


class Duration(click.ParamType[float]):
    """A duration as people write it, such as 30s or 1m30s; the value is in seconds."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        from gracefulexitcmd.duration import seconds

        try:
            return seconds(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


graceful_exit_delay = click.option(
    "--graceful-exit-delay",
    type=Duration(),
    envvar=GRACE_VARIABLE,
    default=DEFAULT_GRACE,
    show_default="30s",
    show_envvar=True,
    metavar="TIME",
    help="Time between SIGTERM and SIGKILL when a job is stopped.",
)


inputs = click.option(
    "--inputs",
    multiple=True,
    metavar="K=V[,K=V]",
    help="Inputs: the text as typed for a string, YAML for other types; may hold ${{ }}.",
)
env = click.option("--env", multiple=True, metavar="K=V[,K=V]", help="The function's environment variables.")
job_variables = click.option(
    "--job", "--var", "job", multiple=True, metavar="K=V[,K=V]", help="Job variables, for ${{ vars.K }}."
)
timeout = click.option("--timeout", type=Duration(), metavar="TIME", help="Stop the job after this time.")


def default_socket() -> str:
    """The socket that servers and clients use where nothing else is said."""
    import tempfile

    return os.path.join(tempfile.gettempdir(), "step-runner.sock")


def socket_path(path: str | None, directory: str | None) -> str:
    """The socket that a --socket or a directory names. Raises StepRunnerError where both are given."""
    if path is not None and directory is not None:
        raise StepRunnerError(f"--socket {path} and the directory {directory} both name a socket: give one of them")
    if directory is not None:
        return os.path.join(directory, "step-runner.sock")
    return path or default_socket()


client_socket = click.option(
    "--socket",
    "path",
    envvar=SOCKET_VARIABLE,
    default=default_socket,
    show_default="step-runner.sock in the directory for temporary files",
    show_envvar=True,
    metavar="PATH",
    help="The socket of the server.",
)
