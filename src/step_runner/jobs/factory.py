"""Makes jobs. This module imports all that a job needs."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

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
    from step_runner.runner.context import Environment

Log = TypeVar("Log", bound=Sink)

LARGE_TEXT = 64 * 1024
"""Characters of a steps text from which on a thread parses it, so that the loop answers other calls meanwhile."""


class Plan(NamedTuple):
    """The function that a job runs, and its surroundings.

    `env` is the environment below everything that steps set. `known` maps references to functions that need no lookup.
    With `debug`, errors quote the unreadable lines of output files.
    """

    job_id: str
    function: Function
    work_dir: str
    env: Mapping[str, str]
    variables: Sequence[Variable] = ()
    known: Mapping[Reference, Function] = {}
    debug: bool = False


async def plan_of(request: RunRequest, environment: Mapping[str, str]) -> Plan:
    """Return the plan for a request; `environment` is the server's.

    Raise StepRunnerError for a request that cannot be run.
    """
    work_dir = _absolute(request.work_dir)
    function = await _load(request.steps, work_dir)
    _make_directory(work_dir)
    values = {variable.key: variable.value for variable in request.variables}
    env = {**with_log_level(environment, values), **request.env}
    return Plan(request.id, function, work_dir, env, variables=request.variables, debug=is_debugging(environment))


def make_job(
    plan: Plan, proc: Proc, log_in: Callable[[Workspace], Log], listener: Listener | None = None
) -> tuple[Job[Log], GlobalContext]:
    """Return a new job and the context of its steps. `log_in` makes the job's log in a given directory.

    Raise StepRunnerError when the job cannot be made; nothing of it remains then.
    """
    listener = listener or Listener()
    with ExitStack() as undo:
        workspace = Workspace(plan.job_id)
        undo.callback(workspace.remove)
        variables = workspace.variables(plan.variables)
        log = log_in(workspace)
        undo.callback(log.end)
        job = Job(plan.job_id, proc, workspace, log, listener)
        undo.pop_all()
    masked = {variable.key: variable.value for variable in plan.variables if variable.masked}
    context = GlobalContext(
        proc=proc,
        container=job.container,
        work_dir=plan.work_dir,
        env=plan.env,
        variables={key: Secret(value) if key in masked else value for key, value in variables.items()},
        masks=Masks(masked.values()),
        sink=log,
        scratch=workspace.directory,
        resolve=partial(_resolve, plan.known, proc, listener.fetching),
        listener=job,
        debug=plan.debug,
    )
    return job, context


async def _resolve(
    known: Mapping[Reference, Function],
    proc: Proc,
    progress: Callable[[str], None],
    reference: Reference,
    base: str,
    environment: Environment,
) -> Function:
    """Return the function that a reference names: a known one, or else the result of a lookup."""
    if reference in known:
        return known[reference]
    return await resolve(proc, reference, base, environment, progress=progress)


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


def _absolute(path: str) -> str:
    return os.path.abspath(path)


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL character
        reason = getattr(error, "strerror", None) or error
        raise StepRunnerError(f'initializing request: making the work dir "{path}": {reason}') from error
