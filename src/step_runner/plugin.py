"""For packages that offer functions in Python: type hints that mark secrets, exports and job variables.

    from step_runner.plugin import Exported, JobVariables, Sensitive

    class Login(TypedDict):
        user: str
        API_TOKEN: Exported[Sensitive[str]]

    def login(user: str, password: Sensitive[str], variables: JobVariables) -> Login: ...

docs/builtins.md says how a package offers its functions.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, TypeAlias, TypeVar

T = TypeVar("T")


class Mark(enum.Enum):
    """A property of a value that its type does not express."""

    SENSITIVE = "sensitive"
    EXPORTED = "exported"
    JOB_VARIABLES = "job variables"


Sensitive: TypeAlias = Annotated[T, Mark.SENSITIVE]
"""A secret value: an input that accepts secrets, or an output that is one."""

Exported: TypeAlias = Annotated[T, Mark.EXPORTED]
"""A variable of this name in the environment of all later steps, instead of an output."""

JobVariables: TypeAlias = Annotated[Mapping[str, str], Mark.JOB_VARIABLES]
"""The job's variables as in `${{ vars.NAME }}`, instead of an input; the value of a file variable is its path."""
