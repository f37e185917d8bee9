"""`step-runner serve`: serve the API on a unix socket."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from step_runner.cli import options
from step_runner.cli.supervision import SUPERVISION_PREFIX
from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    from step_runner.api.sidecar import Sidecar
    from step_runner.cli.supervision import Supervisor


@click.command("serve", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@options.socket_or_directory
@options.graceful_exit_delay
@options.fetch_limit
@click.option("--verbose", is_flag=True, help="Log the actions of the server to stderr, not only errors.")
@click.argument("arguments", metavar="[DIR] [COMMAND...]", nargs=-1, type=options.PATH)
@click.pass_obj
def command(
    supervisor: Supervisor, path: str | None, graceful_exit_delay: float, verbose: bool, arguments: tuple[str, ...]
) -> int:
    """Serve the API on a unix socket until SIGTERM, SIGINT or SIGHUP, then stop all jobs gracefully.

    Repeats of a signal change nothing. A second Ctrl-C, at least one second after the first signal, or SIGQUIT kills
    all jobs at once.

    DIR is the directory for the socket (default: XDG_RUNTIME_DIR, else the directory for temporary files). Before a
    COMMAND, DIR needs a slash. With a COMMAND the server also runs that command, as soon as stdin has data for it.
    The server stops when the command ends, and exits with its status.

    stderr gets the line that names the socket, and errors; --verbose or CI_STEPS_LOG_LEVEL=debug adds messages.

    Examples:
      step-runner serve
      step-runner serve --socket /run/steps.sock --graceful-exit-delay 1m
      echo 'make test' | step-runner serve -- /run sh
    """
    verbose = verbose or os.environ.get("CI_STEPS_LOG_LEVEL", "").strip().lower() == "debug"
    directory, words = _split(arguments)
    path = os.path.abspath(options.socket_paths(path, directory)[0])
    supervisor.note(graceful_exit_delay, path)
    return _serve(path, graceful_exit_delay, words, supervisor.gone, verbose=verbose)


def _serve(path: str, delay: float, words: tuple[str, ...], supervisor_gone: tuple[int, ...], *, verbose: bool) -> int:
    import asyncio

    from step_runner.api.server import serve

    # With this variable a step can call the server that runs it.
    os.environ[options.SOCKET_VARIABLE] = path
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SUPERVISION_PREFIX)}
    with asyncio.Runner() as runner:  # without Runner.run and its handler of SIGINT, as in `execute`
        serving = serve(path, delay, environment, _sidecar(words), supervisor_gone, verbose=verbose)
        return runner.get_loop().run_until_complete(serving)


def _sidecar(command: tuple[str, ...]) -> Sidecar | None:
    """Return the sidecar that runs the command next to the server, None without a command. Raise StepRunnerError."""
    if not command:
        return None
    if sys.platform == "win32":
        raise StepRunnerError(f"{command[0]}: a server cannot run a command on Windows: start the command separately")
    from step_runner.api.sidecar import Sidecar

    return Sidecar(command)


def _split(arguments: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """Return the directory, if the first argument is one, and the command. Raise StepRunnerError for a wrong one.

    A directory has a slash in its name or is the only argument. In `serve sh -c ...` the word `sh` is a program, even
    if there is a directory of that name.
    """
    if not arguments:
        return None, ()
    first, *rest = arguments
    if first == "":
        raise StepRunnerError("invalid empty socket dir")
    if os.path.isdir(first) and (not rest or "/" in first or first in (os.curdir, os.pardir)):
        return first, tuple(rest)
    if not rest and os.path.dirname(first) and not os.path.exists(first):
        raise StepRunnerError(f"invalid socket dir {first}: it does not exist: create it")
    return None, arguments
