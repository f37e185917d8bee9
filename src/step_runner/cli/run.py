"""`step-runner run`: run a function on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from step_runner.cli import options, records
from step_runner.cli.source import names_function
from step_runner.cli.supervision import SUPERVISION_PREFIX

if TYPE_CHECKING:
    from step_runner.cli.records import Records
    from step_runner.cli.source import Named
    from step_runner.cli.supervision import Supervisor

HIDDEN = ("CI_", "GITLAB_", "FF_", "DOCKER_ENV_", SUPERVISION_PREFIX)
"""The prefixes of the variables that steps do not see: on a laptop they would come from an earlier job."""


@click.command("run")
@names_function
@options.job_variables
@click.option(
    "--text-proto-step-file",
    "text_proto",
    metavar="FILE",
    type=options.PATH,
    help="Run the definition in this file, in protobuf text form.",
)
@options.graceful_exit_delay
@options.timeout
@options.fetch_limit
@click.option("--no-tty", is_flag=True, help="Give steps pipes even on a terminal, and show no progress line.")
@click.option(
    "--report",
    metavar="FILE",
    type=options.PATH,
    help="Write a report of all steps and of how they ended: an HTML page if FILE ends in .html, else JSON.",
)
@records.options
@click.pass_obj
def command(
    supervisor: Supervisor,
    /,
    named: Named,
    job: dict[str, str],
    graceful_exit_delay: float,
    timeout: float | None,
    no_tty: bool,
    records: Records,
) -> int:
    """Run a function on this machine.

    REFERENCE is a step file, a directory, or any other reference; a text that begins with `func:` is read as an
    item of a run list. Local step files are checked before anything runs.

    Ctrl-C, SIGTERM or SIGHUP stops the running step gracefully; repeats change nothing. A second Ctrl-C, at least one
    second later, or SIGQUIT kills it at once. Ctrl-Z suspends the job; that time does not count. The exit status is 0
    for success, the status of the command that failed, 128 plus the signal after a stop, and 1 for any other error.

    Examples:
      step-runner run ./examples/release
      step-runner run hello.yml --inputs name=Ada --report report.html
      step-runner run ./deploy --graceful-exit-delay 1m --timeout 10m
      step-runner run --git-url https://gitlab.com/c/s --git-rev v1
    """
    from step_runner.cli.local import current_directory, execute
    from step_runner.cli.source import called, check_local
    from step_runner.jobs.factory import Plan
    from step_runner.jobs.local import LocalRun

    supervisor.note(graceful_exit_delay)
    work_dir = current_directory()
    what = called(named)
    check_local(what)
    env_of_steps = {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)}
    plan = Plan("run", what.function, work_dir, env_of_steps, known=what.known, timeout=timeout)
    run = LocalRun(plan, job, graceful_exit_delay, stop_when_gone=supervisor.gone)
    return execute(run, records, tty=not no_tty, shows_outputs=True)
