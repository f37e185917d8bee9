"""Control groups of version 2, as the running kernel has them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.cgroups import needs_birth, needs_cgroup

from gracefulexitcmd import PIPE, Cmd, ManualContainer, contain
from gracefulexitcmd.posix import cgroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:7 - cgroup cgroup rw,cpu
{mount} - cgroup2 cgroup2 rw
"""


@pytest.mark.parametrize(
    ("groups", "mount", "directory"),
    [
        ("0::/\n", "41 31 0:38 / /sys/fs/cgroup rw", "/sys/fs/cgroup"),
        ("1:cpu:/a\n0::/\n", "41 31 0:38 / /sys/fs/cgroup/unified rw", "/sys/fs/cgroup/unified"),
        ("0::/user.slice/u.scope\n", "41 31 0:38 / /sys/fs/cgroup rw shared:9", "/sys/fs/cgroup/user.slice/u.scope"),
        ("0::/docker/12/job\n", "41 31 0:38 /docker/12 /sys/fs/cgroup ro", "/sys/fs/cgroup/job"),
        ("0::/docker/12\n", "41 31 0:38 /docker/12 /sys/fs/cgroup ro", "/sys/fs/cgroup"),
        ("0::/docker/123\n", "41 31 0:38 /docker/12 /sys/fs/cgroup ro", None),
        ("0::/../other\n", "41 31 0:38 /docker/12 /sys/fs/cgroup ro", None),
        ("1:cpu:/a\n", "41 31 0:38 / /sys/fs/cgroup rw", None),
    ],
    ids=[
        "alone",
        "next to 1",
        "below",
        "mounted below",
        "mounted itself",
        "another",
        "outside of the namespace",
        "none",
    ],
)
def test_directory_is_that_of_own_group(groups: str, mount: str, directory: str | None) -> None:
    found = cgroup.mounted(groups, MOUNTS.format(mount=mount))
    assert (None if found is None else found.directory) == directory
    assert found is None or found.point == mount.split()[4]


def test_directory_is_none_without_version_2() -> None:
    assert cgroup.mounted("0::/\n", "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n") is None


@pytest.fixture
def group() -> Iterator[cgroup.Cgroup]:
    made = cgroup.make(uuid.uuid4().hex)
    assert made is not None
    yield made
    made.kill()
    while not made.remove():
        """Killed processes need a moment to end."""


@needs_cgroup
def test_process_started_in_group_is_member(group: cgroup.Cgroup) -> None:
    script = "read line; setsid sleep 1000 & echo $!; wait"
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        seen = [group.pids()]
        moved = group.add(shell.pid)
        assert shell.stdin is not None
        shell.stdin.write(b"\n")
        shell.stdin.flush()
        assert shell.stdout is not None
        born = int(shell.stdout.readline())
        seen.append(group.pids())
        removed = group.remove()
        killed = group.kill()
        shell.kill()
    assert (moved, removed, killed) == (True, False, True)
    assert seen == [frozenset(), {shell.pid, born}]
    assert shell.returncode == -signal.SIGKILL


@needs_cgroup
def test_nested_groups_belong_to_group(group: cgroup.Cgroup) -> None:
    inner = cgroup.Cgroup(f"{group.path}/inner/innermost")
    os.makedirs(inner.path)
    with subprocess.Popen(["sleep", "1000"]) as process:
        inner.add(process.pid)
        assert group.pids() == {process.pid}
        assert group.kill()
    assert group.remove()


@needs_cgroup
def test_ended_process_cannot_be_moved(group: cgroup.Cgroup) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert not group.add(process.pid)


@needs_cgroup
def test_empty_groups_of_killed_programs_are_removed() -> None:
    """The next program that makes a group removes them. Those of live programs, and those with a process, remain."""
    program = "import os, signal; from gracefulexitcmd.posix import cgroup; print(cgroup.make('x').path, flush=True); "
    with (
        subprocess.Popen([sys.executable, "-c", f"{program}signal.pause()"], stdout=subprocess.PIPE) as killed,
        subprocess.Popen(["sleep", "1000"]) as inside,
    ):
        try:
            assert killed.stdout is not None
            path = killed.stdout.readline().decode().strip()
            subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
            assert os.path.isdir(path)
            assert cgroup.Cgroup(path).add(inside.pid)
            killed.kill()
            killed.wait()
            subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
            assert os.path.isdir(path)
        finally:
            killed.kill()
            inside.kill()
    last = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()
    assert not os.path.exists(path)
    with contextlib.suppress(FileNotFoundError):  # the job of another test may have made the next group
        os.rmdir(last)


@needs_cgroup
@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a PID namespace")
def test_groups_of_another_pid_namespace_are_not_removed() -> None:
    """Their makers live, although no process has that pid in this namespace."""
    program = "import os, signal; from gracefulexitcmd.posix import cgroup; print(cgroup.make('x').path, flush=True); "
    inside = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    with subprocess.Popen([sys.executable, "-c", f"{program}signal.pause()"], stdout=subprocess.PIPE) as maker:
        try:
            assert maker.stdout is not None
            path = maker.stdout.readline().decode().strip()
            other = subprocess.run([*inside, sys.executable, "-c", program], check=True, capture_output=True, text=True)
            os.rmdir(other.stdout.strip())
            assert os.path.isdir(path)
        finally:
            maker.kill()
    os.rmdir(path)


@needs_cgroup
def test_container_removes_its_group() -> None:
    own = cgroup.own_directory()
    assert own is not None
    container = ManualContainer()
    path = f"{own}/{cgroup.prefix()}{os.getpid()}-{container.cookie}"
    assert container.confine()
    assert os.path.isdir(path)
    container.close()
    assert not os.path.exists(path)


@needs_cgroup
def test_container_confines_every_process() -> None:
    container = ManualContainer()
    reader, writer = os.pipe()
    script = "(sleep 1000 & sleep 1000 & echo; wait) & wait"
    with Cmd(["sh", "-c", script], grace=0, stdout=writer, container=container):
        os.read(reader, 1)
        container.confine()
        groups = [Path(f"/proc/{member.pid}/cgroup").read_text() for member in container.members()]
    os.close(reader)
    os.close(writer)
    container.close()
    assert len(groups) == 4
    assert all(container.cookie in group for group in groups)


OWN_GROUP = ["grep", "^0:", "/proc/self/cgroup"]
"""A command that prints its control group."""


@pytest.fixture
def container() -> Iterator[ManualContainer]:
    made = ManualContainer()
    yield made
    made.close()


@needs_birth
def test_command_starts_in_group_of_its_container(container: ManualContainer) -> None:
    shared = Cmd(OWN_GROUP, stdout=PIPE, text=True, container=container).run().stdout
    assert container.cookie in str(shared)
    with contain() as box:
        contained = Cmd(OWN_GROUP, stdout=PIPE, text=True, container=box).run().stdout
    alone = Cmd(OWN_GROUP, stdout=PIPE, text=True, contain=True).run().stdout
    assert all(f"{cgroup.prefix()}{os.getpid()}" in str(group) for group in (contained, alone))


def test_plain_command_starts_in_group_of_its_parent() -> None:
    """It promises less than a container, and does not pay for a group."""
    ended = Cmd(OWN_GROUP, stdout=PIPE, text=True).run()
    assert str(os.getpid()) not in str(ended.stdout)


@needs_birth
def test_commands_born_in_group_are_not_moved(container: ManualContainer) -> None:
    """The kernel waits milliseconds for a move: `confine` need not make any."""
    with Cmd(["sleep", "1000"], container=container, grace=0) as command:
        home, group = cgroup.own(), container.birthplace()
        assert home is not None
        assert group is not None
        (born,) = group.pids()
        assert born == command.pid
        home.add(born)
        assert container.confine()
        assert group.pids() == set()


def _removed(group: cgroup.Cgroup) -> None:
    group.remove()


def _killed(group: cgroup.Cgroup) -> None:
    """Linux 6.14 then kills at once each process that another group's process starts in it."""
    group.kill()


def _invalid(group: cgroup.Cgroup) -> None:
    """Make it a domain that cannot have processes, cgroups(7): its parent becomes threaded."""
    sibling = f"{group.path}/threaded"
    group.path = f"{group.path}/invalid"
    for path in (sibling, group.path):
        os.mkdir(path)
    Path(sibling, "cgroup.type").write_text("threaded")


@needs_birth
@pytest.mark.parametrize("spoil", [_removed, _killed, _invalid])
def test_command_starts_outside_of_spoiled_group(
    container: ManualContainer, spoil: Callable[[cgroup.Cgroup], None]
) -> None:
    """It never fails: the kernel refuses the start in the group, or kills the process before its program runs."""
    group = container.birthplace()
    assert group is not None
    root = cgroup.Cgroup(group.path)
    spoil(group)
    ended = Cmd(OWN_GROUP, stdout=PIPE, text=True, container=container).run()
    assert ended.returncode == 0
    assert container.cookie not in str(ended.stdout)
    root.remove()


@needs_birth
def test_command_that_started_outside_is_confined(container: ManualContainer) -> None:
    """A command with a descriptor of its own cannot be born in the group. It is moved later."""
    reader, writer = os.pipe()
    with Cmd(["sleep", "1000"], container=container, pass_fds=[reader], grace=0) as command:
        group = container.birthplace()
        assert group is not None
        assert group.pids() == set()
        assert container.confine()
        assert group.pids() == {command.pid}
    os.close(reader)
    os.close(writer)


@needs_cgroup
def test_command_is_confined_if_libc_cannot_spawn_inside(
    container: ManualContainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before glibc 2.39 a command starts outside of the group, and `confine` moves it."""
    monkeypatch.setattr(cgroup, "can_spawn_inside", lambda: False)
    with Cmd(["sleep", "1000"], container=container, grace=0) as command:
        before = Path(f"/proc/{command.pid}/cgroup").read_text()
        assert container.confine()
        after = Path(f"/proc/{command.pid}/cgroup").read_text()
    assert (container.cookie in before, container.cookie in after) == (False, True)


def test_command_starts_if_no_group_can_be_made(container: ManualContainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "can_spawn_inside", lambda: True)
    monkeypatch.setattr(cgroup, "_own_directory_swept", lambda: "/proc/self")
    assert container.birthplace() is None
    assert Cmd(["true"], container=container).run().returncode == 0
    assert not container.confine()


def test_closed_container_confines_no_process() -> None:
    container = ManualContainer()
    container.close()
    assert not container.confine()


HIDDEN = """
import os, sys
from gracefulexitcmd import PIPE, Cmd, ManualContainer, Termination
container = ManualContainer()
script = "read -r line; setsid setpriv --reuid 65534 --clear-groups sleep 1000 & echo $!; exit"
with Cmd(["sh", "-c", script], stdin=PIPE, stdout=PIPE, text=True, container=container, grace=0.1) as command:
    assert container.confine()
    command.stdin.write("go\\n")
    command.stdin.flush()
    pid = int(command.stdout.readline())
    command.wait()
while os.path.exists(f"/proc/{pid}"):  # it is of this user until setpriv has changed that
    pass
ended = Termination(container, 0.1).run()
print([process.pid == pid for process in ended.census], [process.ended_by for process in ended.census])
container.close()
"""


@needs_cgroup
@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount /proc, and become another user")
def test_member_hidden_in_proc_is_killed_by_group() -> None:
    """With `hidepid`, only the control group shows a process of another user, as a live member."""
    mount = 'mount -t proc -o hidepid=invisible,gid=65533 proc /proc && setpriv --bounding-set=-sys_ptrace "$@"; exit'
    inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", mount, "sh"]
    told = subprocess.run([*inside, sys.executable, "-c", HIDDEN], capture_output=True, text=True, timeout=60)
    assert (told.stdout, told.stderr) == ("[True] ['SIGKILL']\n", "")
