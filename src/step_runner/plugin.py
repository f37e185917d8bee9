"""For packages that offer functions in Python: how a type hint says that a value is secret, or is exported.

    from step_runner.plugin import Exported, Sensitive

    class Login(TypedDict):
        user: str
        API_TOKEN: Exported[Sensitive[str]]

    def login(user: str, password: Sensitive[str]) -> Login: ...

docs/builtins.md says how a package offers its functions.
"""

from __future__ import annotations

import enum
from typing import Annotated, TypeAlias, TypeVar

T = TypeVar("T")


class Mark(enum.Enum):
    """What is said of a value beside its type."""

    SENSITIVE = "sensitive"
    EXPORTED = "exported"


Sensitive: TypeAlias = Annotated[T, Mark.SENSITIVE]
"""A value that is kept secret: an input that takes secrets, or an output that is one."""

Exported: TypeAlias = Annotated[T, Mark.EXPORTED]
"""Not an output, but a variable of this name in the environment of all later steps."""
