"""`step-runner completion`: print the script by which a shell completes the commands."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script by which a shell completes commands, options, files, job ids, and inputs of functions.

    It needs bash 4.4, zsh 5 or fish 3, or a newer version.

    Examples:
      source <(step-runner completion bash)                             # in ~/.bashrc
      source <(step-runner completion zsh)                              # in ~/.zshrc, after compinit
      step-runner completion fish > ~/.config/fish/completions/step-runner.fish
    """
    import pkgutil

    click.echo(pkgutil.get_data(__package__, f"completion.{shell}"), nl=False)
