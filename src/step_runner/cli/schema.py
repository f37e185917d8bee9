"""`step-runner schema`: print the JSON Schema of step files."""

from __future__ import annotations

import click


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of step files, for editors and other programs.

    It describes each of the two documents of a step file. It refuses keys without effect, of which `check` only warns.

    Examples:
      step-runner schema > step-file.schema.json
      echo '# yaml-language-server: $schema=step-file.schema.json' > func.yml
    """
    from step_runner.functions.schema import text

    click.echo(text(), nl=False)
