"""The content of a container's ledger, and the recovery of its processes after their owner's end."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shlex
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest
from tests.support.cgroups import needs_cgroup

from gracefulexitcmd import Cmd, ManualContainer
from gracefulexitcmd.posix import cgroup, ledger, process_table
from gracefulexitcmd.posix.ledger import Entry, Found, Ledger, abandoned
from gracefulexitcmd.posix.recovery import Orphaned, recover

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gracefulexitcmd.posix.process_table import Identity

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a ledger needs /proc")

GONE: Identity = (4_194_300, 1)
"""A process that ended long ago."""

MINE = uuid.uuid4().hex[:16]
"""A cookie that no other process carries: the scan covers all processes of the machine."""

KEY = b"a key of this test"

LONG_AGO = "a boot of the past 4026531836"


def identity(pid: int) -> Identity:
    process = process_table.process(pid)
    assert process is not None
    return process.pid, process.start_time


def entry(*owners: Identity, place: str | None = None, cookie: str = MINE, since: int = 1) -> Entry:
    return Entry("job", place or ledger.place(), cookie, since, 2.5, None, owners)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ledger")


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Yield another live process."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def write(path: str, entry: Entry, *leaders: int, key: bytes = KEY) -> None:
    written = Ledger(path, entry, key)
    for leader in leaders:
        written.started(leader)


def found(path: str, *keys: bytes, watched_here: bool = False) -> Found | None:
    with abandoned(path, keys or (KEY,), watched_here=watched_here) as read:
        return read


def sealed(first: object, *others: object) -> list[bytes]:
    """Return the lines of a ledger as `Ledger` writes them."""
    lines = [_sealed(b"", first)]
    return lines + [_sealed(lines[0], other) for other in others]


def _sealed(first: bytes, line: object) -> bytes:
    content = json.dumps(line).encode()
    return hashlib.blake2b(first + b"\n" + content, key=KEY, digest_size=32).hexdigest().encode() + b" " + content


def content(path: str) -> Found | None:
    with open(path, "rb") as file:
        return ledger.parse(file.read(), (KEY,))


def read(*lines: bytes) -> Found | None:
    return ledger.parse(b"\n".join((*lines, b"")), (KEY,))


def test_written_ledger_can_be_read(path: str, other: subprocess.Popen[bytes]) -> None:
    write(path, entry(GONE), other.pid)
    assert found(path) == Found(entry(GONE), (identity(other.pid),), sealed=True)


def test_container_writes_ledger_before_first_command(path: str) -> None:
    container = ManualContainer()
    container.keep_ledger(path, "job", 2.5, KEY)
    before = content(path)
    assert before is not None
    assert (before.entry.cookie, before.entry.owners) == (container.cookie, (identity(os.getpid()),))
    assert (before.leaders, before.sealed) == ((), True)
    command = Cmd(["cat"], input=b"", container=container)
    command.start()
    after = content(path)
    assert after is not None
    assert [pid for pid, _ in after.leaders] == [command.pid]
    command.wait()
    container.close()


@pytest.mark.parametrize(("cut", "leaders"), [(0, 2), (1, 1), (4, 1), (60, 1)], ids=str)
def test_unfinished_line_is_ignored(cut: int, leaders: int) -> None:
    text = b"\n".join((*sealed(entry(), (12, 34), (56, 78)), b""))
    found = ledger.parse(text[: len(text) - cut], (KEY,))
    assert found is not None
    assert len(found.leaders) == leaders


@pytest.mark.parametrize(
    "line",
    [[12], "nonsense", {}, [], ["12", 34], [12, 34, 56], [12, None], b"[" * 200_000, b"\xff", b""],
    ids=range(10),
)
def test_damaged_line_spoils_no_other_line(line: object) -> None:
    first, one, other = sealed(entry(), (12, 34), (56, 78))
    damaged = line if isinstance(line, bytes) else _sealed(first, line)
    found = read(first, one, damaged, other)
    assert found is not None
    assert found.leaders == ((12, 34), (56, 78))


def test_line_without_space_spoils_no_other_line(path: str, other: subprocess.Popen[bytes]) -> None:
    """The file cannot grow for a while, as on a full disk."""
    program = (
        "import os, resource, signal, sys\n"
        "from gracefulexitcmd.posix.ledger import Entry, Ledger\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "ledger = Ledger(sys.argv[1], Entry('job', 'place', 'cookie', 1, 1.0, None, ()), sys.argv[2].encode())\n"
        "size = os.stat(sys.argv[1]).st_size\n"
        "for more in (3, 3, -1):\n"
        "    limit = size + more if more > 0 else resource.RLIM_INFINITY\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "    ledger.started(os.getppid())\n"
    )
    subprocess.run([sys.executable, "-c", program, path, KEY.decode()], check=True)
    read = content(path)
    assert read is not None
    assert read.leaders == (identity(os.getpid()),)


UNSEALED = json.dumps(entry(GONE)) + "\n"
"""The format of versions before the seal; its first blank is a part of the JSON."""


@pytest.mark.parametrize(
    "text",
    ["", "\n", "s [1, 2]\n", "nonsense\n", "s {}\n", 's ["job"', f"s {'[' * 200_000}\n", UNSEALED],
    ids=range(8),
)
def test_ledger_without_entry_is_empty(text: str) -> None:
    assert ledger.parse(text.encode(), (KEY,)) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": 5},
        {"place": 5},
        {"cookie": 5},
        {"since": "x"},
        {"grace": "x"},
        {"grace": -1},
        {"grace": float("nan")},
        {"cgroup": 7},
        {"owners": [["x", 1]]},
        {"owners": 3},
    ],
    ids=str,
)
def test_damaged_entry_is_ignored(wrong: dict[str, object]) -> None:
    assert read(*sealed(list((entry()._asdict() | wrong).values()))) is None


def test_pipe_at_path_of_ledger_blocks_no_reader(path: str) -> None:
    os.mkfifo(path)
    assert found(path) is None


def test_ledger_larger_than_memory_is_read_in_part(path: str) -> None:
    """Root in a container that shares the directory can make the ledger arbitrarily large."""
    write(path, entry(GONE))
    os.truncate(path, 1 << 43)
    read = found(path)
    assert read is not None
    assert read.entry == entry(GONE)


def test_ledger_without_live_owner_is_abandoned(path: str, other: subprocess.Popen[bytes]) -> None:
    write(path, entry(GONE, identity(other.pid)))
    assert found(path) is None
    other.kill()
    other.wait()
    assert found(path) is not None


def test_owner_with_reused_number_is_gone(path: str, other: subprocess.Popen[bytes]) -> None:
    """The number of an owner may belong to another process by now."""
    pid, start_time = identity(other.pid)
    write(path, entry((pid, start_time - 1)))
    assert found(path) is not None


def test_process_ignores_its_own_ledger_by_default(path: str) -> None:
    """A process finds its own ledger only on request."""
    write(path, entry(GONE, identity(os.getpid())))
    assert found(path) is None
    assert found(path, watched_here=True) is not None


def test_foreign_ledger_is_not_watched_here(path: str) -> None:
    write(path, entry(GONE))
    assert found(path, watched_here=True) is None


def test_ledger_of_earlier_boot_is_abandoned_without_processes(path: str) -> None:
    """All processes of the ledger have ended with that boot."""
    write(path, entry(identity(os.getpid()), place=LONG_AGO), os.getpid())
    with recover(path, (KEY,)) as left:
        assert left is not None
        assert (left.name, left.grace, left.members()) == ("job", 2.5, [])


def test_ledger_of_another_pid_namespace_has_unknown_owners(path: str) -> None:
    boot = ledger.place().split()[0]
    write(path, entry(GONE, place=f"{boot} 1"))
    assert found(path) is None


def test_ledger_has_one_holder_at_a_time(path: str) -> None:
    write(path, entry(GONE))
    with open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert found(path) is None
    assert found(path) is not None


def test_link_or_missing_file_is_not_a_ledger(path: str) -> None:
    assert found(path) is None
    write(path, entry(GONE))
    os.symlink(path, f"{path}-link")
    assert found(f"{path}-link") is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_ledger_of_another_user_is_ignored(path: str) -> None:
    write(path, entry(GONE))
    os.chown(path, 65534, 65534)
    assert found(path) is None


def test_process_with_reused_number_of_leader_is_spared(other: subprocess.Popen[bytes]) -> None:
    pid, start_time = identity(other.pid)
    assert Orphaned(entry(GONE), ((pid, start_time - 1),)).members() == []
    left = Orphaned(entry(GONE), ((pid, start_time),))
    assert [left.found_by(process) for process in left.members()] == ["leader"]


def test_group_is_known_only_by_a_known_member(path: str) -> None:
    """Its leader has ended; another program's group may have got its number since."""
    member = shlex.join([sys.executable, "-I", "-S", "-c", "import signal; print(flush=True); signal.pause()"])
    script = f"GRACEFULEXITCMD_COOKIE={MINE} {member} & {member} &"
    since = process_table.ticks_since_boot()
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, process_group=0) as leader:
        assert leader.stdout is not None
        leader_identity = identity(leader.pid)
        assert [leader.stdout.readline(), leader.stdout.readline()] == [b"\n", b"\n"]
    ways = []
    for cookie in ("another", MINE):
        left = Orphaned(entry(GONE, cookie=cookie, since=since), (leader_identity,))
        ways.append(sorted(left.found_by(process) for process in left.members()))
    os.killpg(leader.pid, 9)
    assert ways == [[], ["cookie", "group"]]


def test_member_of_a_ledger_does_not_recover_it(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step can start a step runner of its own, which carries the cookie of the enclosing job."""
    write(path, entry(GONE))
    monkeypatch.setenv("GRACEFULEXITCMD_COOKIE", f"outer:{MINE}")
    with recover(path, (KEY,)) as left:
        assert left is None


def test_ledger_without_our_seal_is_ignored(path: str) -> None:
    """A user that shares the directory may write any content there, even under the same user id."""
    write(path, entry(GONE))
    assert found(path, b"another key") is None
    assert found(path, b"another key", KEY) is not None


def test_line_of_another_ledger_is_ignored() -> None:
    """The recovery of an orphaned job must not end the processes of a running one."""
    _, foreign = sealed(entry(GONE, cookie="0" * 16), (12, 34))
    own = sealed(entry(GONE), (56, 78))
    assert read(*own, foreign) == Found(entry(GONE), ((56, 78),), sealed=True)


def test_unsealed_ledger_of_an_earlier_boot_is_abandoned(path: str) -> None:
    """The key may be lost with that boot, and all its processes have ended."""
    write(path, entry(GONE, place=LONG_AGO), os.getpid(), key=b"a key that is lost")
    with recover(path, (KEY,)) as left:
        assert left is not None
        assert left.members() == []


NOW = 1000
OURS = "0123456789abcdef"
MOUNT = "/sys/fs/cgroup"


def group(pid: int, cookie: str = OURS) -> str:
    return cgroup.group_name(pid, cookie)


@pytest.mark.parametrize("path", [None, f"{MOUNT}/{group(7)}", f"{MOUNT}/a.slice/b.scope/{group(7)}"], ids=str)
def test_own_entry_is_plausible(path: str | None) -> None:
    written = entry((7, 900), (5, 800), cookie=OURS, since=NOW)._replace(cgroup=path)
    assert ledger.plausible(written, NOW, MOUNT)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cookie": ""},
        {"cookie": "no hexadecimal!!"},
        {"cookie": OURS[:8]},
        {"cookie": f"{OURS}\n"},
        {"since": 0},
        {"since": -5},
        {"since": NOW + 1},
        {"owners": ()},
        {"owners": ((1, 900),)},
        {"owners": ((7, 0),)},
        {"owners": ((7, NOW + 1),)},
        {"cgroup": ""},
        {"cgroup": MOUNT},
        {"cgroup": f"{MOUNT}/system.slice"},
        {"cgroup": f"{MOUNT}/{group(8)}"},
        {"cgroup": f"{MOUNT}/{group(7, '0' * 16)}"},
        {"cgroup": f"{MOUNT}/{group(7)}/inner"},
        {"cgroup": f"{MOUNT}/../../tmp/{group(7)}"},
        {"cgroup": f"{MOUNT}/a/../{group(7)}"},
        {"cgroup": f"/tmp/{group(7)}"},
        {"cgroup": f"{MOUNT}-beside/{group(7)}"},
        {"cgroup": group(7)},
    ],
    ids=str,
)
def test_foreign_entry_is_not_plausible(wrong: dict[str, object]) -> None:
    values = (entry((7, 900), cookie=OURS, since=NOW)._asdict() | wrong).values()
    assert not ledger.plausible(Entry(*values), NOW, MOUNT)


def test_no_control_group_is_plausible_without_cgroups() -> None:
    assert not ledger.plausible(entry((7, 900), cookie=OURS)._replace(cgroup=f"{MOUNT}/{group(7)}"), NOW, None)


def test_implausible_sealed_entry_is_not_abandoned(path: str) -> None:
    write(path, entry(GONE)._replace(since=process_table.ticks_since_boot() + 1_000_000))
    assert found(path) is None


def test_ordinary_directory_is_not_a_control_group(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    """Its list of processes is not read, and nothing is removed."""
    fake = tmp_path / group(GONE[0], MINE)
    (fake / "inner").mkdir(parents=True)
    (fake / "cgroup.procs").write_text(f"{other.pid}\n")
    left = Orphaned(entry(GONE)._replace(cgroup=str(fake)), ())
    assert left.members() == []
    left.kill()
    left.close()
    assert sorted(os.listdir(fake)) == ["cgroup.procs", "inner"]
    assert other.poll() is None


@needs_cgroup
def test_control_group_is_read_and_removed(other: subprocess.Popen[bytes]) -> None:
    made = cgroup.make(uuid.uuid4().hex)
    assert made is not None
    left = Orphaned(entry(GONE)._replace(cgroup=made.path), ())
    assert made.add(other.pid)
    assert [left.found_by(process) for process in left.members()] == ["cgroup"]
    left.kill()
    other.wait()
    left.close()
    assert not os.path.exists(made.path)


def test_process_older_than_job_is_spared(other: subprocess.Popen[bytes]) -> None:
    since = identity(other.pid)[1] + 1
    assert Orphaned(entry(GONE, since=since), (identity(other.pid),)).members() == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_process_of_another_user_is_spared() -> None:
    env = {**os.environ, "GRACEFULEXITCMD_COOKIE": MINE}
    with subprocess.Popen(["sleep", "1000"], env=env, user=65534) as process:
        left = Orphaned(entry(GONE), (identity(process.pid),)).members()
        process.kill()
    assert left == []
