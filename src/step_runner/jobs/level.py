"""The level of detail in a job's log."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from step_runner.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_LEVEL = "CI_STEPS_LOG_LEVEL"
LOG_LEVELS = ("debug", "info", "warn", "error")


def with_log_level(environment: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a run, with LOG_LEVEL set: to the job variable, else that of `environment`, else info.

    Raise InputError for a level that does not exist.
    """
    level = (variables.get(LOG_LEVEL) or environment.get(LOG_LEVEL) or "info").strip().lower() or "info"
    if level not in LOG_LEVELS:
        raise InputError(
            f"initializing global environment: log level: {level} not supported: use one of {', '.join(LOG_LEVELS)}"
        )
    return {**environment, LOG_LEVEL: level}


def is_debugging() -> bool:
    """Return whether this program's variable CI_STEPS_DEBUG asks for more detail."""
    return os.environ.get("CI_STEPS_DEBUG", "").strip().lower() in ("1", "t", "true")
