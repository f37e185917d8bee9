"""Checks whether this process can create control groups of version 2."""

from __future__ import annotations

import functools

import pytest

from gracefulexitcmd.posix import cgroup


@functools.cache
def usable() -> bool:
    """Return whether a control group can be created and removed."""
    made = cgroup.make("tried")
    return made is not None and made.remove()


can_be_born_inside = usable() and cgroup.can_spawn_inside()
"""Whether a command can start in a control group."""

needs_birth = pytest.mark.skipif(
    not can_be_born_inside, reason="no process can start in a control group here: that needs glibc 2.39 and version 2"
)
needs_cgroup = pytest.mark.skipif(not usable(), reason="control groups of version 2 cannot be created here")
