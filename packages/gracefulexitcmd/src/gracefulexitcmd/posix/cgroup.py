"""A control group of a container's own: a process that is born in it belongs to it, whatever else it sheds.

The rules and file names are those of cgroups(7), version 2; nothing is asked of any controller, so no privilege but
that of writing to the own group's directory is needed. It may be mounted beside version 1.
"""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING

from gracefulexitcmd.named_tuple import NamedTuple
from gracefulexitcmd.posix import linux

if TYPE_CHECKING:
    from collections.abc import Iterable

CGROUP2_SUPER_MAGIC = 0x63677270
"""What fstatfs(2) says of version 2; that it is mounted at a path is no proof for what lies there."""

PREFIX = "gracefulexitcmd-"
"""What the name of a group begins with; the number of the process that made it and a name of its own follow."""

OWN_LINKS = 2
"""The links of a directory in which there is no other one."""


class Cgroup:
    """One group, and those that its members have made in it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def add(self, pid: int) -> bool:
        """Move a process into it, which its children are then born in; False where that was not possible.

        The kernel waits for a grace period of RCU, for milliseconds, unless some process was moved just before.
        """
        try:
            _write(f"{self.path}/cgroup.procs", str(pid))
        except OSError:
            return False
        return True

    def pids(self) -> frozenset[int]:
        """The numbers of its members as this process sees them; zombies are none."""
        return frozenset(pid for directory in self._directories() for pid in _pids(directory))

    def kill(self) -> bool:
        """Send SIGKILL to all members at once, so that none can outrun it; False before Linux 5.14."""
        try:
            _write(f"{self.path}/cgroup.kill", "1")
        except OSError:
            return False
        return True

    def remove(self) -> bool:
        """Remove it, and the groups in it; return whether it is gone: it stays while a process lives in it."""
        with contextlib.suppress(OSError):
            os.rmdir(self.path)
            return True
        with contextlib.suppress(OSError):
            for directory in reversed(list(self._directories())):
                os.rmdir(directory)
        return not os.path.exists(self.path)

    def _directories(self) -> Iterable[str]:
        """Return its own directory, and after each the ones in it."""
        with contextlib.suppress(OSError):
            # To list the files of a group takes longer than all else. A directory of kernfs has a link from each
            # directory in it, and two more (kernfs_refresh_inode in fs/kernfs/inode.c).
            if os.stat(self.path).st_nlink == OWN_LINKS:
                return (self.path,)
        return (directory for directory, _, _ in os.walk(self.path))


def existing(path: str) -> Cgroup | None:
    """The group at a path; None where there is none, or the file system there is another one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return Cgroup(path) if linux.file_system(descriptor) == CGROUP2_SUPER_MAGIC else None
    finally:
        os.close(descriptor)


def group_name(maker: int, name: str) -> str:
    """How the group is called that a process makes."""
    return f"{PREFIX}{maker}-{name}"


def planned(name: str) -> Cgroup | None:
    """The group that `make` makes; None where there can be none."""
    own = _own_directory_swept()
    return None if own is None else Cgroup(f"{own}/{group_name(os.getpid(), name)}")


def make(name: str) -> Cgroup | None:
    """A new group in the one that this process is in; None where none can be made."""
    group = planned(name)
    if group is None:
        return None
    try:
        os.mkdir(group.path, 0o755)
    except OSError:
        return None
    return group


def own() -> Cgroup | None:
    """The group that this process is in; None where there is none of version 2."""
    directory = own_directory()
    return None if directory is None else Cgroup(directory)


class Mounted(NamedTuple):
    """Where control groups of version 2 are mounted, and the directory of the group that this process is in."""

    point: str
    directory: str


@functools.cache
def _mounted() -> Mounted | None:
    """None where there is no version 2, or it is not shown."""
    try:
        with (
            open("/proc/self/cgroup", encoding="utf-8") as groups,
            open("/proc/self/mountinfo", encoding="utf-8") as mounts,
        ):
            return mounted(groups.read(), mounts.read())
    except OSError:
        return None


def own_directory() -> str | None:
    """The directory of the group that this process is in; None where there is none of version 2."""
    found = _mounted()
    return None if found is None else found.directory


def mount_point() -> str | None:
    """The directory below which all groups are that this process can see; None where there are none of version 2."""
    found = _mounted()
    return None if found is None else found.point


@functools.cache
def _own_directory_swept() -> str | None:
    """Return the own directory, once the empty groups of killed programs are removed from it."""
    own = own_directory()
    with contextlib.suppress(OSError):
        for name in os.listdir(own) if own is not None else ():
            maker = name.removeprefix(PREFIX).partition("-")[0]
            if name.startswith(PREFIX) and not os.path.exists(f"/proc/{maker}"):
                Cgroup(f"{own}/{name}").remove()
    return own


def mounted(groups: str, mounts: str) -> Mounted | None:
    """What the texts of `/proc/self/cgroup` and `/proc/self/mountinfo` say."""
    group = next((line[3:] for line in groups.splitlines() if line.startswith("0::/")), None)
    if group is None:
        return None
    for line in mounts.splitlines():
        place, _, system = line.partition(" - ")
        root, point = place.split()[3:5]
        if system.startswith("cgroup2 ") and f"{group}/".startswith(f"{root.rstrip('/')}/"):
            return Mounted(point, f"{point}/{group.removeprefix(root).strip('/')}".rstrip("/"))
    return None


def _pids(directory: str) -> list[int]:
    try:
        with open(f"{directory}/cgroup.procs", "rb") as file:
            return [int(line) for line in file if line.strip() != b"0"]  # 0: it is in another PID namespace
    except OSError:  # the group was removed, or it is threaded
        return []


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
