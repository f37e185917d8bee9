"""The words that a shell offers at Tab for arguments and options: the ids of jobs, the inputs of a function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem


def job_ids(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return the jobs of the server that the command line names, each with its status; no jobs without a server."""
    from click.shell_completion import CompletionItem

    from step_runner.api.client import Client
    from step_runner.cli.options import default_socket

    try:
        with Client(context.params.get("path") or default_socket(), context.params.get("owner")) as client:
            jobs = client.jobs()
    except StepRunnerError:
        return []
    return [CompletionItem(job.id, help=job.status.name.lower()) for job in jobs if job.id.startswith(incomplete)]


def inputs(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return the inputs of the local function that the command line names."""
    from click.shell_completion import CompletionItem

    from step_runner.functions.call import call_of
    from step_runner.functions.resolution import resolve_local
    from step_runner.model import Local, Spec

    # While the option lacks its value, click has parsed nothing and keeps the arguments.
    reference = context.params.get("reference") or next(iter(context.args), None)
    try:
        call = call_of(reference).step.call if reference is not None else None
        spec = resolve_local(call, "").spec if isinstance(call, Local) else Spec()
    except StepRunnerError:
        return []
    return [
        CompletionItem(f"{name}=", help=parameter.description or str(parameter.type))
        for name, parameter in spec.inputs.items()
        if name.startswith(incomplete)
    ]
