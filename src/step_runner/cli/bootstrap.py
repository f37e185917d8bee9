"""`step-runner bootstrap`: copy this program to another place."""

from __future__ import annotations

import sys

import click

from step_runner.cli import options
from step_runner.errors import StepRunnerError


@click.command("bootstrap")
@click.argument("destination", default="", type=options.PATH)
def command(destination: str) -> None:
    """Copy this program to DESTINATION. Only the single file that needs no Python can be copied.

    DESTINATION is the path of the new file, or a directory: the file is named step-runner there. /ca-certs.pem and the
    folder /git are copied next to it if they exist.

    Examples:
      step-runner bootstrap /opt/step-runner/bin/
      step-runner bootstrap ./step-runner
      scp ./step-runner build-machine:
    """
    if sys.platform == "win32":
        raise StepRunnerError("bootstrap is not supported on Windows: install the package there with pip")
    from step_runner.bootstrap import install

    install(destination)
