"""For packages that offer functions in Python: how a type hint says what a value is beside its type.

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
    """What is said of a value beside its type."""

    SENSITIVE = "sensitive"
    EXPORTED = "exported"
    JOB_VARIABLES = "job variables"


Sensitive: TypeAlias = Annotated[T, Mark.SENSITIVE]
"""A value that is kept secret: an input that takes secrets, or an output that is one."""

Exported: TypeAlias = Annotated[T, Mark.EXPORTED]
"""Not an output, but a variable of this name in the environment of all later steps."""

JobVariables: TypeAlias = Annotated[Mapping[str, str], Mark.JOB_VARIABLES]
"""Not an input, but the variables of the job, as steps see them in `${{ vars.NAME }}`: a file's is its path."""
