"""Makes jobs. This module imports all that a job needs."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from gracefulexitcmd import ManualContainer
from step_runner.errors import InputError, StepRunnerError
from step_runner.expression import Secret
from step_runner.functions.loader import load_function
from step_runner.jobs.job import Job
from step_runner.jobs.level import is_debugging, with_log_level
from step_runner.jobs.resolver import resolve
from step_runner.jobs.workspace import Workspace
from step_runner.runner.binding import assign
from step_runner.runner.context import GlobalContext, Listener, Sink
from step_runner.runner.masks import Masks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from step_runner.model import Function, Reference, RunRequest, Variable
    from step_runner.proc import Proc

Log = TypeVar("Log", bound=Sink)

LARGE_TEXT = 64 * 1024
"""Characters of a steps text from which on a thread parses it, so that the loop answers other calls meanwhile."""


class Plan(NamedTuple):
    """The function that a job runs, and its surroundings.

    `env` is the environment below everything that steps set. `known` maps references to functions that need no lookup.
    `timeout` is in seconds.
    """

    job_id: str
    function: Function
    work_dir: str
    env: Mapping[str, str]
    variables: Sequence[Variable] = ()
    known: Mapping[Reference, Function] = {}
    timeout: float | None = None


async def plan_of(request: RunRequest, environment: Mapping[str, str]) -> Plan:
    """Return the plan for a request; `environment` is the server's.

    Raise StepRunnerError for a request that cannot be run.
    """
    work_dir = os.path.abspath(request.work_dir)  # noqa: ASYNC240 - it does not touch the disk
    function = await _load(request.steps, work_dir)
    _make_directory(work_dir)
    values = {variable.key: variable.value for variable in request.variables}
    env = {**with_log_level(environment, values), **request.env}
    return Plan(request.id, function, work_dir, env, variables=request.variables, timeout=request.timeout)


def start_job(plan: Plan, proc: Proc, log_in: Callable[[Workspace], Log], listener: Listener | None = None) -> Job[Log]:
    """Return a new job that runs in the background. `log_in` makes the job's log in a given directory.

    Raise StepRunnerError when the job cannot be made; nothing of it remains then.
    """
    listener = listener or Listener()
    masked = {variable.key: variable.value for variable in plan.variables if variable.masked}
    masks = Masks(masked.values())
    with ExitStack() as undo:
        workspace = Workspace(plan.job_id)
        undo.callback(workspace.remove)
        variables = workspace.variables(plan.variables)
        log = log_in(workspace)
        undo.callback(log.end)
        container = ManualContainer()
        undo.callback(container.close)
        workspace.keep_ledger(container, plan.job_id, proc.graceful_exit_delay)
        undo.pop_all()
    job = Job(plan.job_id, proc, workspace, log, container, masks, listener)
    context = GlobalContext(
        proc=proc,
        container=container,
        work_dir=plan.work_dir,
        env=plan.env,
        variables={key: Secret(value) if key in masked else value for key, value in variables.items()},
        masks=masks,
        sink=log,
        scratch=workspace.directory,
        resolve=partial(resolve, proc, known=plan.known, progress=listener.fetching),
        listener=job,
        debug=is_debugging(),
    )
    job.start(plan.function, context, plan.timeout)
    return job


async def _load(text: str, directory: str) -> Function:
    try:
        load = partial(load_function, text, file="steps", directory=directory)
        function, _ = load() if len(text) < LARGE_TEXT else await asyncio.to_thread(load)
    except StepRunnerError as error:
        raise InputError(f"loading step: {error}") from error
    try:
        assign({}, function.spec)
    except StepRunnerError as error:
        raise InputError(f"failed to start step runner service: {error}") from error
    return function


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL character
        reason = getattr(error, "strerror", None) or error
        raise StepRunnerError(f'initializing request: making the work dir "{path}": {reason}') from error
