"""Gives a container a control group: a process born in it belongs to the container, whatever else it sheds.

The rules and file names are those of cgroups(7), version 2. No controller is used, so the only privilege it needs is
to write to the directory of this process's own group. Version 1 may be mounted at the same time.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys

from gracefulexitcmd.posix import process_table
from gracefulexitcmd.typed import NamedTuple

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterable

CGROUP2_SUPER_MAGIC = 0x63677270
"""The type that fstatfs(2) reports for version 2; the mount table does not prove which file system is at a path."""

OWN_LINKS = 2
"""The link count of a directory without subdirectories."""


class Cgroup:
    """One control group with its subgroups, which its members may have made."""

    def __init__(self, path: str) -> None:
        self.path = path

    def add(self, pid: int) -> bool:
        """Move a process into it, so that its later children are born in it; return False if that was not possible.

        The kernel waits milliseconds for a grace period of RCU, unless another process was moved just before.
        """
        try:
            _write(f"{self.path}/cgroup.procs", str(pid))
        except OSError:
            return False
        return True

    def pids(self) -> frozenset[int]:
        """Return the pids of its members as this process sees them; zombies are not members."""
        return frozenset(pid for directory in self._directories() for pid in _pids(directory))

    def kill(self) -> bool:
        """Send SIGKILL to all members at once, so that none can fork away from it; return False before Linux 5.14."""
        try:
            _write(f"{self.path}/cgroup.kill", "1")
        except OSError:
            return False
        return True

    def remove(self) -> bool:
        """Remove it and its subgroups; return whether it is gone. It stays while a process lives in it."""
        with contextlib.suppress(OSError):
            os.rmdir(self.path)
            return True
        with contextlib.suppress(OSError):
            for directory in reversed(list(self._directories())):
                os.rmdir(directory)
        return not os.path.exists(self.path)

    def _directories(self) -> Iterable[str]:
        """Return its directory and those of its subgroups, each directory before its subdirectories."""
        with contextlib.suppress(OSError):
            # Listing the files of a group takes longer than all the rest. The link count of a kernfs directory is
            # the number of its subdirectories plus two (kernfs_refresh_inode in fs/kernfs/inode.c).
            if os.stat(self.path).st_nlink == OWN_LINKS:
                return (self.path,)
        return (directory for directory, _, _ in os.walk(self.path))


def existing(path: str) -> Cgroup | None:
    """Return the group at a path; None if the path is missing or on another file system."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return Cgroup(path) if _file_system(descriptor) == CGROUP2_SUPER_MAGIC else None
    finally:
        os.close(descriptor)


def _file_system(descriptor: int) -> int:
    """Return the magic number of the file system that holds a file, statfs(2). Raise OSError if the call fails."""
    import ctypes

    status = (ctypes.c_uint32 * 128)()  # larger than struct statfs on every machine; f_type comes first
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fstatfs(descriptor, status) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(status[0])


@functools.cache
def prefix() -> str:
    """Return the beginning of the names of all groups made in this PID namespace: pids of another one mean nothing."""
    return f"gracefulexitcmd-{os.stat('/proc/self/ns/pid').st_ino}-"


def group_name(maker: int, name: str) -> str:
    """Return the name of the group that the process `maker` makes."""
    return f"{prefix()}{maker}-{name}"


def planned(name: str) -> Cgroup | None:
    """Return the group that `make` would make; None if none can be made."""
    own = _own_directory_swept()
    return None if own is None else Cgroup(f"{own}/{group_name(os.getpid(), name)}")


def make(name: str) -> Cgroup | None:
    """Make a group inside the one of this process and return it; None if that is not possible."""
    group = planned(name)
    if group is None:
        return None
    try:
        os.mkdir(group.path, 0o755)
    except OSError:
        return None
    return group


@functools.cache
def can_spawn_inside() -> bool:
    """Return whether posix_spawn(3) can start a process in a group: `posix_spawnattr_setcgroup_np`, glibc 2.39."""
    import ctypes

    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "posix_spawnattr_setcgroup_np")


def own() -> Cgroup | None:
    """Return the group that this process is in; None if it is in no group of version 2."""
    directory = own_directory()
    return None if directory is None else Cgroup(directory)


class Mounted(NamedTuple):
    """The mount point of control groups of version 2, and the directory of this process's own group."""

    point: str
    directory: str


@functools.cache
def _mounted() -> Mounted | None:
    """Return the mount point and the own directory; None if version 2 is absent or hidden."""
    try:
        with (
            open("/proc/self/cgroup", encoding="utf-8") as groups,
            open("/proc/self/mountinfo", encoding="utf-8") as mounts,
        ):
            return mounted(groups.read(), mounts.read())
    except OSError:
        return None


def own_directory() -> str | None:
    """Return the directory of the group that this process is in; None if it is in no group of version 2."""
    found = _mounted()
    return None if found is None else found.directory


def mount_point() -> str | None:
    """Return the directory that holds all groups that this process can see; None without version 2."""
    found = _mounted()
    return None if found is None else found.point


@functools.cache
def _own_directory_swept() -> str | None:
    """Return the own directory, after removing empty groups of killed programs from it once."""
    own = own_directory()
    with contextlib.suppress(OSError):
        for name in os.listdir(own) if own is not None else ():
            rest = name.removeprefix(prefix())
            if rest != name and not os.path.exists(f"/proc/{rest.partition('-')[0]}"):
                Cgroup(f"{own}/{name}").remove()
    return own


def mounted(groups: str, mounts: str) -> Mounted | None:
    """Return the mount point and own directory from the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.

    Return None if they do not show version 2.
    """
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
        # 0 is a process of another PID namespace.
        return [int(line) for line in process_table.content(f"{directory}/cgroup.procs").split() if line != b"0"]
    except OSError:  # the group was removed, or it is threaded
        return []


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
