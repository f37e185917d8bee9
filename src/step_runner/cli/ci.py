"""`step-runner ci`: run the steps of a CI job's variable STEPS."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from step_runner import __version__
from step_runner.cli import options
from step_runner.cli import records as files
from step_runner.errors import InputError

if TYPE_CHECKING:
    from step_runner.cli.records import Records
    from step_runner.cli.supervision import Supervisor
    from step_runner.model import Function

STEPS = "STEPS"

JOB_VARIABLES = ("CI_", "GITLAB_", "DOCKER_")
"""The prefixes of the variables that steps see as job variables."""

PASSED_ON = frozenset(
    {
        *("LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"),
        *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "all_proxy", "http_proxy", "https_proxy", "no_proxy"),
    }
)
"""The variables that steps get in their environment; no secret of the job is among them."""

if sys.platform == "win32":
    # Few programs start without these on Windows. The system writes all names in capitals.
    PASSED_ON |= {
        *("COMSPEC", "NUMBER_OF_PROCESSORS", "OS", "PATHEXT", "PROCESSOR_ARCHITECTURE", "SYSTEMDRIVE", "SYSTEMROOT"),
        *("ALLUSERSPROFILE", "COMMONPROGRAMFILES", "COMMONPROGRAMFILES(X86)", "PROGRAMDATA", "PROGRAMFILES"),
        *("PROGRAMFILES(X86)", "PSMODULEPATH", "PUBLIC", "TEMP", "TMP", "WINDIR"),
        *("APPDATA", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "USERDOMAIN", "USERNAME", "USERPROFILE"),
        *("ALL_PROXY",),
    }


@click.command("ci")
@options.graceful_exit_delay
@options.fetch_limit
@files.options
@click.pass_obj
def command(supervisor: Supervisor, graceful_exit_delay: float, records: Records) -> int:
    """Run the steps of a CI job's variable STEPS, a run list in YAML.

    Steps run in CI_PROJECT_DIR. They see the variables CI_*, GITLAB_* and DOCKER_* of the job as ${{ vars.NAME }}.
    Of the job's environment they get only PATH, the locale, proxies and the like.

    SIGTERM, SIGINT or SIGHUP stops the running step gracefully; repeats change nothing. A second Ctrl-C, at least one
    second later, or SIGQUIT kills it at once. The step is also stopped when its output has no reader any more, because
    the CI engine is gone. The exit status is 0 for success, the status of the command that failed, 128 plus the signal
    after a stop, and 1 for any other error.

    Examples:
      STEPS='[{name: hello, script: echo hello}]' step-runner ci
      STEPS="$(cat steps.yml)" step-runner ci --write-steps-results
    """
    from step_runner.cli.local import current_directory, execute, readers
    from step_runner.jobs.factory import Plan
    from step_runner.jobs.local import LocalRun

    click.echo(f"step-runner {__version__}", err=True)
    supervisor.note(graceful_exit_delay)
    function = _function(os.environ.get(STEPS, ""))
    work_dir = os.path.join(current_directory(), *filter(None, [os.environ.get("CI_PROJECT_DIR")]))
    plan = Plan("run", function, work_dir, {name: os.environ[name] for name in os.environ if name in PASSED_ON})
    variables = {name: value for name, value in os.environ.items() if name.startswith(JOB_VARIABLES)}
    run = LocalRun(plan, variables, graceful_exit_delay, stop_when_gone=(*supervisor.gone, *readers()))
    return execute(run, records)


def _function(text: str) -> Function:
    """Return the steps of the variable. Check them and all local functions that they call, and show warnings.

    Raise StepRunnerError if there is an error in them.
    """
    from step_runner.cli.problems import refuse
    from step_runner.functions.check import check_text
    from step_runner.functions.loader import load_run_list

    if not text.strip():
        raise InputError(
            f"compiling {STEPS}: at least one of `script, `action`, `run` or `exec` must be provided:"
            f" the variable {STEPS} is empty or not set"
        )
    refuse(check_text(text, file=STEPS, bare=True, missing_functions_may_come=True))
    return load_run_list(text, file=STEPS)[0]
