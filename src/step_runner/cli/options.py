"""Options that several commands share."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import click

from step_runner.cli import completers
from step_runner.cli.assignments import assignments
from step_runner.cli.supervision import DEFAULT_GRACE
from step_runner.errors import StepRunnerError

GRACE_VARIABLE = "STEP_RUNNER_GRACEFUL_EXIT_DELAY"
SOCKET_VARIABLE = "STEP_RUNNER_SOCKET"
OWNER_VARIABLE = "STEP_RUNNER_SOCKET_OWNER"
LIMIT_VARIABLE = "STEP_RUNNER_FETCH_LIMIT"

SOCKET_NAME = "step-runner.sock"
DEFAULT_PLACE = f"{SOCKET_NAME} in XDG_RUNTIME_DIR, else in the temporary directory"

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any])

Parameters: TypeAlias = Callable[[Callable[..., int]], Callable[..., int]]
"""A decorator that gives a command parameters."""

PATH = click.Path(readable=False)
"""The path of a file, which a shell completes; the command itself says what is wrong with it."""


class Parsed(click.ParamType[Any]):
    """A value that a function reads from a text; the message of its ValueError is that of the option."""

    def __init__(self, name: str, read: Callable[[str], object]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        try:
            return self._read(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _duration(text: str) -> float:
    from gracefulexitcmd.duration import seconds

    return seconds(text)


DURATION = Parsed("time", _duration)
"""A duration with units, such as 30s or 1m30s; the value is in seconds."""

graceful_exit_delay = click.option(
    "--graceful-exit-delay",
    type=DURATION,
    envvar=GRACE_VARIABLE,
    default=DEFAULT_GRACE,
    show_envvar=True,
    metavar="TIME",
    help="Time between SIGTERM and SIGKILL when a job is stopped (default: 30s).",
)


def _values(*names: str, about: str, **attributes: Any) -> Callable[[AnyCommand], AnyCommand]:
    """Return an option whose value is a dictionary."""
    return click.option(
        *names,
        multiple=True,
        callback=lambda _context, _option, arguments: assignments(arguments),
        metavar="K=V[,K=V]",
        help=f"{about} A name alone takes its value from the environment.",
        **attributes,
    )


inputs = _values(
    "--inputs",
    about="Inputs: the text as typed for a string, YAML for other types; may hold ${{ }}.",
    shell_complete=completers.inputs,
)
env = _values("--env", about="The function's environment variables.")
job_variables = _values("--job", "--var", "job", about="Job variables, for ${{ vars.K }}.")


def _timeout(text: str) -> float:
    if (converted := _duration(text)) == 0:
        raise ValueError("the job would end before it starts: leave the option out for no limit")
    return converted


timeout = click.option("--timeout", type=Parsed("time", _timeout), metavar="TIME", help="Stop the job after this time.")


def _size(text: str) -> int:
    from step_runner.fetch.limits import size

    return size(text)


def _limit_fetches(_context: click.Context, _option: click.Parameter, size: int | None) -> None:
    """Put the limit into the environment, where fetches in every process and thread find it."""
    if size is not None:
        os.environ[LIMIT_VARIABLE] = str(size)


fetch_limit = click.option(
    "--fetch-limit",
    type=Parsed("size", _size),
    envvar=LIMIT_VARIABLE,
    show_envvar=True,
    expose_value=False,
    callback=_limit_fetches,
    metavar="SIZE",
    help="The largest size of one fetch, such as 20G (default: 8G).",
)


def _user_id(name: str) -> int:
    """Return the number of a user. Raise ValueError if there is no user with this name."""
    if sys.platform == "win32":
        raise ValueError("on Windows no other user can open the file that replaces a socket")
    import pwd

    try:
        return int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ValueError(f"user {name!r} does not exist: give a name or a number") from None


socket_owner = click.option(
    "--socket-owner",
    "owner",
    type=Parsed("user", _user_id),
    envvar=OWNER_VARIABLE,
    show_envvar=True,
    metavar="USER",
    help="Trust a server of this user, too, not only your own and root's.",
)


socket_or_directory = click.option(
    "--socket",
    "path",
    metavar="PATH",
    type=PATH,
    help=f"The socket of the server (default: {SOCKET_NAME} in DIR).",
)


def default_sockets() -> list[str]:
    """Return the default sockets of servers and clients.

    A server uses the first one. It may have another environment than its clients, so a client tries all.
    """
    from step_runner import private, temporary

    places = (private.session(), temporary.directory())
    return [os.path.join(directory, SOCKET_NAME) for directory in places if directory]


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


def output_format(about: str) -> Callable[[AnyCommand], AnyCommand]:
    """Return the option that chooses between text and JSON, with this description."""
    choice = click.Choice(["text", "json"])
    return click.option("--format", "form", type=choice, default="text", show_default=True, help=about)


def together(name: str, kind: type[Any], parameters: Sequence[Parameters]) -> Parameters:
    """Return a decorator that gives a command these parameters as one argument: a named tuple of this kind."""

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(command)
        def grouped(**arguments: Any) -> int:
            given = {field: arguments.pop(field) for field in kind._fields if field in arguments}
            return command(**{name: kind(**given)}, **arguments)

        made: Callable[..., int] = grouped
        for add in reversed(parameters):
            made = add(made)
        return made

    return decorate


_client_socket = click.option(
    "--socket",
    "path",
    envvar=SOCKET_VARIABLE,
    default=default_socket,
    show_envvar=True,
    metavar="PATH",
    type=PATH,
    help=f"The socket of the server (default: {DEFAULT_PLACE}).",
)


def client_socket(function: AnyCommand) -> AnyCommand:
    """Give a command the options `path` and `owner` of `Client`."""
    return _client_socket(socket_owner(function))
