"""Options that several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from step_runner.cli import completers
from step_runner.errors import StepRunnerError

GRACE_VARIABLE = "STEP_RUNNER_GRACEFUL_EXIT_DELAY"
SOCKET_VARIABLE = "STEP_RUNNER_SOCKET"
OWNER_VARIABLE = "STEP_RUNNER_SOCKET_OWNER"
LIMIT_VARIABLE = "STEP_RUNNER_FETCH_LIMIT"

SOCKET_NAME = "step-runner.sock"
DEFAULT_PLACE = f"{SOCKET_NAME} in XDG_RUNTIME_DIR, else in the temporary directory"

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any])

DEFAULT_GRACE = 30.0
"""The default time between the stop signal and SIGKILL, in seconds."""


class Duration(click.ParamType[float]):
    """A duration with units, such as 30s or 1m30s; the value is in seconds."""

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
    show_envvar=True,
    metavar="TIME",
    help="Time between SIGTERM and SIGKILL when a job is stopped (default: 30s).",
)


inputs = click.option(
    "--inputs",
    multiple=True,
    shell_complete=completers.inputs,
    metavar="K=V[,K=V]",
    help="Inputs: the text as typed for a string, YAML for other types; may hold ${{ }}."
    " A name alone has the environment's value.",
)
env = click.option(
    "--env",
    multiple=True,
    metavar="K=V[,K=V]",
    help="The function's environment variables. A name alone has the environment's value.",
)
job_variables = click.option(
    "--job",
    "--var",
    "job",
    multiple=True,
    metavar="K=V[,K=V]",
    help="Job variables, for ${{ vars.K }}. A name alone has the environment's value.",
)


class Timeout(Duration):
    """A duration that is not zero."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        converted = super().convert(value, param, ctx)
        if converted == 0:
            self.fail("the job would end before it starts: leave the option out for no limit", param, ctx)
        return converted


timeout = click.option("--timeout", type=Timeout(), metavar="TIME", help="Stop the job after this time.")


class Size(click.ParamType[int]):
    """A number of bytes with a unit, such as 20G."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from step_runner.fetch.limits import size

        try:
            return size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _limit_fetches(_context: click.Context, _option: click.Parameter, size: int | None) -> None:
    """Put the limit into the environment, where fetches in every process and thread find it."""
    if size is not None:
        os.environ[LIMIT_VARIABLE] = str(size)


fetch_limit = click.option(
    "--fetch-limit",
    type=Size(),
    envvar=LIMIT_VARIABLE,
    show_envvar=True,
    expose_value=False,
    callback=_limit_fetches,
    metavar="SIZE",
    help="The most that one fetch may bring, such as 20G (default: 8G).",
)


class User(click.ParamType[int]):
    """A user by name or number; the value is the number."""

    name = "user"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return _user_id(str(value))
        except LookupError as error:
            self.fail(str(error), param, ctx)


if sys.platform == "win32":

    def _user_id(_name: str) -> int:
        raise LookupError("on Windows no other user can open the file that replaces a socket")

else:

    def _user_id(name: str) -> int:
        """Return the number of a user. Raise LookupError if there is no user with this name."""
        import pwd

        try:
            return int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
        except KeyError:
            raise LookupError(f"user {name!r} does not exist: give a name or a number") from None


socket_owner = click.option(
    "--socket-owner",
    "owner",
    type=User(),
    envvar=OWNER_VARIABLE,
    show_envvar=True,
    metavar="USER",
    help="Trust a server of this user, too, not only your own and root's.",
)


def default_sockets() -> list[str]:
    """Return the default sockets of servers and clients.

    A server uses the first one. It may have another environment than its clients, so a client tries all.
    """
    from step_runner import temporary
    from step_runner.private_place import session

    return [os.path.join(directory, SOCKET_NAME) for directory in (session(), temporary.directory()) if directory]


def default_socket() -> str:
    """Return the default socket that exists, else the first default."""
    sockets = default_sockets()
    return next(filter(os.path.exists, sockets), sockets[0])


def socket_paths(path: str | None, directory: str | None) -> list[str]:
    """Return the sockets that --socket or a directory names; a new server uses the first one.

    Raise StepRunnerError if both are given.
    """
    if path is not None and directory is not None:
        raise StepRunnerError(f"--socket {path} and the directory {directory} both name a socket: give one of them")
    if directory is not None:
        return [os.path.join(directory, SOCKET_NAME)]
    return [path] if path else default_sockets()


_client_socket = click.option(
    "--socket",
    "path",
    envvar=SOCKET_VARIABLE,
    default=default_socket,
    show_envvar=True,
    metavar="PATH",
    shell_complete=completers.files,
    help=f"The socket of the server (default: {DEFAULT_PLACE}).",
)


def client_socket(function: AnyCommand) -> AnyCommand:
    """Give a command the options `path` and `owner` of `Client`."""
    return _client_socket(socket_owner(function))
