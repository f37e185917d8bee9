"""Makes jobs: all that they need is imported with this module."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from step_runner.errors import InputError, StepRunnerError
from step_runner.expression import Secret
from step_runner.functions.loader import load_function
from step_runner.jobs.job import Job
from step_runner.jobs.level import LOG_LEVEL, is_debugging, log_level
from step_runner.jobs.log import JobLog
from step_runner.jobs.resolver import resolve
from step_runner.jobs.workspace import Workspace
from step_runner.runner.binding import assign
from step_runner.runner.context import GlobalContext
from step_runner.runner.masks import Masks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from step_runner.model import Function, RunRequest
    from step_runner.proc import Proc

LARGE_TEXT = 64 * 1024
"""Characters of a steps text from which on it is read in a thread, so that other calls are answered meanwhile."""


async def prepare(
    request: RunRequest, proc: Proc, environment: Mapping[str, str]
) -> tuple[Job[JobLog], Function, GlobalContext]:
    """Make a job, read what it is to run, and say in which context.

    `environment` is that of the server. Raises StepRunnerError where that is not possible; nothing is left then.
    """
    work_dir = _absolute(request.work_dir)
    function = await _load(request.steps, work_dir)
    _make_directory(work_dir)
    level = log_level({variable.key: variable.value for variable in request.variables}, environment)
    with ExitStack() as undo:
        workspace = Workspace(request.id)
        undo.callback(workspace.remove)
        variables = workspace.variables(request.variables)
        log = JobLog(workspace.log)
        undo.callback(log.end)
        job = Job(request.id, proc, workspace, log)
        undo.pop_all()
    context = GlobalContext(
        proc=proc,
        container=job.container,
        work_dir=work_dir,
        env={**environment, LOG_LEVEL: level, **request.env},
        variables=_masked(request, variables),
        masks=Masks(variable.value for variable in request.variables if variable.masked),
        sink=log,
        scratch=workspace.directory,
        resolve=partial(resolve, proc),
        observer=job,
        debug=is_debugging(environment),
    )
    return job, function, context


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


def _masked(request: RunRequest, variables: Mapping[str, str]) -> dict[str, str | Secret]:
    masked = {variable.key for variable in request.variables if variable.masked}
    return {key: Secret(value) if key in masked else value for key, value in variables.items()}
