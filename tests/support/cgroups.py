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


needs_cgroup = pytest.mark.skipif(not usable(), reason="control groups of version 2 cannot be created here")
