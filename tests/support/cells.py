"""The conditions under which the step runner is tried: whose process it is, and whether it can make control groups."""

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
"""A shell script that makes control groups unusable for what it runs, as container engines do."""

AS_NOBODY = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    # The interpreter may lie below the home directory of root. Nothing else is allowed that an ordinary user is not.
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)


class Cell(NamedTuple):
    """One of the four conditions; `prefix` is put before a command, which keeps its process's number."""

    cgroup: bool
    ordinary: bool
    prefix: tuple[str, ...]


CELLS = ("root", "root, cgroup", "user", "user, cgroup")


@contextlib.contextmanager
def entered(name: str, temporary: str) -> Iterator[Cell]:
    """The cell of this name, with the test's directory for temporary files handed to its user; skips what cannot be."""
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
        pytest.skip("only root can do what root does")
    if with_cgroup and not can_make:
        pytest.skip("no control group can be made here")
    if not root and not with_cgroup and can_make:
        pytest.skip("only root can take away the control group that there is")


def _without_cgroup() -> tuple[str, ...]:
    directory = cgroup.own_directory()
    return ("unshare", "--mount", "sh", "-c", READ_ONLY, directory) if directory and usable() else ()


@contextlib.contextmanager
def _delegated(wanted: bool) -> Iterator[tuple[str, ...]]:
    """A control group that belongs to the ordinary user, as systemd delegates it; root's own they cannot use."""
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
