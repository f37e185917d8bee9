"""The level of detail in a job's log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from step_runner.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_LEVEL = "CI_STEPS_LOG_LEVEL"
LOG_LEVELS = ("debug", "info", "warn", "error")


def log_level(variables: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """Return the log level of builtin functions: the job variable, else the environment, else info.

    Raise InputError for a level that does not exist.
    """
    level = (variables.get(LOG_LEVEL) or environment.get(LOG_LEVEL) or "info").strip().lower() or "info"
    if level not in LOG_LEVELS:
        raise InputError(
            f"initializing global environment: log level: {level} not supported: use one of {', '.join(LOG_LEVELS)}"
        )
    return level


def with_log_level(environment: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a run, with LOG_LEVEL set to the result of `log_level`.

    Raise InputError as that does.
    """
    return {**environment, LOG_LEVEL: log_level(variables, environment)}


def is_debugging(environment: Mapping[str, str]) -> bool:
    """Return whether CI_STEPS_DEBUG asks for more detail."""
    return environment.get("CI_STEPS_DEBUG", "").strip().lower() in ("1", "t", "true")
