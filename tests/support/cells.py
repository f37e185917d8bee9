"""The conditions for tests of the step runner: its user, and whether it can create control groups."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import uuid
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.support.absent import absent
from tests.support.cgroups import usable

from gracefulexitcmd.posix import cgroup

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534

IN_GROUP = 'echo $$ > "$0" && exec "$@"'
"""A shell script that moves itself into a control group."""

READ_ONLY = 'mount -o remount,bind,ro "$0" && exec "$@"'
"""A shell script that runs a command with a read-only control group, as container engines do."""

AS_NOBODY = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    # The interpreter may be in the home directory of root. The user gets no other capability.
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)


class Cell(NamedTuple):
    """One of the four conditions; `prefix` goes before a command, and executes it in the same process."""

    cgroup: bool
    ordinary: bool
    prefix: tuple[str, ...]


CELLS = ("root", "root, cgroup", "user", "user, cgroup")


@contextlib.contextmanager
def entered(name: str, temporary: str) -> Iterator[Cell]:
    """Enter the cell of this name and give its user the temporary directory; skip the test if that is impossible."""
    user, _, group = name.partition(", ")
    _skip_unless_possible(user, with_cgroup=bool(group))
    if os.getuid() != 0:
        yield Cell(bool(group), ordinary=True, prefix=())
    elif user == "root":
        yield Cell(bool(group), ordinary=False, prefix=() if group else _without_cgroup())
    else:
        os.chown(temporary, NOBODY, NOBODY)
        with _delegated(bool(group)) as prefix:
            yield Cell(bool(group), ordinary=True, prefix=(*prefix, *AS_NOBODY))


def _skip_unless_possible(user: str, *, with_cgroup: bool) -> None:
    root, can_make = os.getuid() == 0, usable()
    if sys.platform != "linux":
        pytest.skip("only Linux has control groups and subreapers")
    if root and shutil.which("setpriv") is None:
        absent("setpriv")
    if not root and user == "root":
        pytest.skip("only root can run the cells of root")
    if with_cgroup and not can_make:
        pytest.skip("control groups cannot be created here")
    if not root and not with_cgroup and can_make:
        pytest.skip("only root can hide the control group of this process")


def _without_cgroup() -> tuple[str, ...]:
    directory = cgroup.own_directory()
    return ("unshare", "--mount", "sh", "-c", READ_ONLY, directory) if directory and usable() else ()


@contextlib.contextmanager
def _delegated(wanted: bool) -> Iterator[tuple[str, ...]]:
    """Make a control group that belongs to the ordinary user, as systemd delegates it; that of root is not writable."""
    if not wanted:
        yield ()
        return
    group = cgroup.make(f"delegated-{uuid.uuid4().hex}")
    assert group is not None
    for path in (group.path, f"{group.path}/cgroup.procs"):
        os.chown(path, NOBODY, NOBODY)
    yield "sh", "-c", IN_GROUP, f"{group.path}/cgroup.procs"
    group.kill()
    group.remove()
