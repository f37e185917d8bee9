"""Whether control groups, version 2, can be made here."""

from __future__ import annotations

import functools

import pytest

from gracefulexitcmd.posix import cgroup


@functools.cache
def usable() -> bool:
    """Whether one can be made, and removed again."""
    made = cgroup.make("tried")
    return made is not None and made.remove()


needs_cgroup = pytest.mark.skipif(not usable(), reason="no control group of version 2 can be made here")
