"""`step-runner proxy`: pass bytes between stdin, stdout and a server's socket."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

import click

from step_runner.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

STDIN, STDOUT = 0, 1


@click.command("proxy")
@options.socket_or_directory
@options.socket_owner
@click.argument("directory", metavar="[DIR]", required=False, type=options.PATH)
def command(path: str | None, owner: int | None, directory: str | None) -> None:
    """Pass bytes between stdin, stdout and a server's socket, until either side ends.

    If no server listens on the socket yet, wait for one; the end of stdin ends the wait, with status 1.

    DIR is the directory of the socket, by default XDG_RUNTIME_DIR or the one for temporary files. The server must run
    as the same user, as root or as --socket-owner.

    Examples:
      step-runner proxy
      step-runner proxy --socket /run/steps.sock
      ssh build-machine step-runner proxy
    """
    if path is None and directory is None:
        path = os.environ.get(options.SOCKET_VARIABLE)
    _proxy(options.socket_paths(path, directory), owner)


if sys.platform == "win32":

    def _proxy(paths: Sequence[str], _owner: int | None) -> None:
        from step_runner.api.threaded_copy import ReadAhead, copy_in_threads
        from step_runner.api.token_auth import awaited
        from step_runner.errors import StepRunnerError

        path = paths[0]
        source = ReadAhead(STDIN)
        try:
            with awaited(path, source.ended) as connection:
                copy_in_threads(source, STDOUT, connection)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            advice = f"start a server with: step-runner serve --socket {shlex.quote(path)}"
            raise StepRunnerError(f"dialing: {path}: {reason}: {advice}") from error

else:

    def _proxy(paths: Sequence[str], owner: int | None) -> None:
        from step_runner.api.connection import connect_when_ready
        from step_runner.api.copy_bytes import copy_bytes

        if os.isatty(STDIN) and not any(map(os.path.exists, paths)):
            click.echo(f"waiting for a server on {paths[0]}; end this with Ctrl-C", err=True)
        connection, held = connect_when_ready(paths, STDIN, owner)
        with connection:
            copy_bytes(STDIN, STDOUT, connection, held)
