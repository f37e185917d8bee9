"""Finds functions for a running job: reads local ones, fetches the others."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from step_runner.functions.reference import parse_reference
from step_runner.functions.resolution import resolve as find_function
from step_runner.model import Builtin, Dynamic, Function, Git, Local, Oci, Reference
from step_runner.runner.sequence import SCRIPT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from step_runner.proc import Proc
    from step_runner.runner.context import Environment


async def resolve(
    proc: Proc,
    reference: Reference,
    base: str,
    environment: Environment,
    *,
    known: Mapping[Reference, Function] = {},
    progress: Callable[[str], None] = lambda text: None,
) -> Function:
    """Return the function that a reference in the directory `base` names. `environment` holds registry credentials.

    `known` maps references to functions that need no lookup. `progress` gets lines about the fetch, one at a time,
    often, from any thread. Raise StepRunnerError when the function does not exist or is not usable. Raise StoppedError
    when the job is cancelled during the fetch.
    """
    if reference in known:
        return known[reference]
    if isinstance(reference, Dynamic):
        reference = parse_reference(reference.template)
        assert not isinstance(reference, Dynamic)
    fetch = partial(_fetch, environment=environment, proc=proc, progress=progress)
    if isinstance(reference, Local):
        return find_function(reference, base, fetch)
    from step_runner.fetch.background import in_background

    if isinstance(reference, Builtin):
        find = partial(_find_builtin, reference, proc)
    else:
        find = partial(find_function, reference, base, fetch)
    return await in_background(find, proc)


def _find_builtin(reference: Builtin, proc: Proc) -> Function:
    from step_runner.builtin import catalog
    from step_runner.builtin.function import python_function

    offer = catalog.find(reference.name)
    return SCRIPT if offer.name == catalog.SCRIPT else python_function(offer, proc)


def _fetch(reference: Git | Oci, environment: Environment, proc: Proc, progress: Callable[[str], None]) -> str:
    from step_runner.fetch.cache import Cache

    if isinstance(reference, Git):
        from step_runner.fetch.git.fetch import fetch_git

        return fetch_git(reference, Cache(), proc, progress=progress)
    from step_runner.fetch.oci.fetch import fetch_oci

    return fetch_oci(reference, Cache(), proc, environment=environment, progress=progress)
