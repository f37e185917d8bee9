"""What a container's ledger says, and when nobody is left who looks after what it names."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

from gracefulexitcmd import Cmd, Container
from gracefulexitcmd.posix import ledger, linux
from gracefulexitcmd.posix.ledger import Entry, Ledger, abandoned
from gracefulexitcmd.posix.remains import Remains, remains

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gracefulexitcmd.posix.linux import Identity

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a ledger needs /proc")

GONE: Identity = (4_194_300, 1)
"""A process that has ended long ago."""

MINE = uuid.uuid4().hex
"""A cookie that no other process carries: it is looked for in all that the machine runs."""

LONG_AGO = "a boot of the past 4026531836"


def identity(pid: int) -> Identity:
    process = linux.process(pid)
    assert process is not None
    return process.pid, process.start_time


def entry(*owners: Identity, place: str | None = None, cookie: str = MINE, since: int = 0) -> Entry:
    return Entry("job", place or ledger.place(), cookie, since, 2.5, None, owners)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ledger")


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Another process, which lives."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def write(path: str, entry: Entry, *leaders: int) -> None:
    written = Ledger(path, entry)
    for leader in leaders:
        written.started(leader)
    written.close()


def found(path: str, *, watched_here: bool = False) -> tuple[Entry, tuple[Identity, ...]] | None:
    with abandoned(path, watched_here=watched_here) as read:
        return read


def test_what_was_written_is_read(path: str, other: subprocess.Popen[bytes]) -> None:
    write(path, entry(GONE), other.pid)
    assert found(path) == (entry(GONE), (identity(other.pid),))


def test_a_container_writes_its_ledger_before_its_first_command(path: str) -> None:
    container = Container()
    container.keep_ledger(path, "job", 2.5)
    with open(path) as file:
        read = ledger.parse(file.read())
        assert read is not None
        assert (read[0].cookie, read[0].owners, read[1]) == (container.cookie, (identity(os.getpid()),), ())
        command = Cmd(["cat"], input=b"", container=container)
        command.start()
        leaders = [json.loads(line) for line in file.read().splitlines()]
    assert [pid for pid, _ in leaders] == [command.pid]
    command.wait()
    container.close()


@pytest.mark.parametrize(
    ("text", "leaders"),
    [("[12, 34]\n[56, 78]\n", 2), ("[12, 34]\n[56, 7", 1), ("[12, 34]\n[56,", 1), ("", 0)],
    ids=["whole", "cut in a number", "cut at a comma", "no leaders"],
)
def test_a_line_that_was_not_written_to_its_end_is_left_out(text: str, leaders: int) -> None:
    read = ledger.parse(f"{json.dumps(entry())}\n{text}")
    assert read is not None
    assert len(read[1]) == leaders


@pytest.mark.parametrize(
    "line", ["[12", "nonsense", "{}", "[]", '["12", 34]', "[12, 34, 56]", "[12, 3[4, 5]", "[" * 200_000], ids=range(8)
)
def test_a_damaged_line_costs_no_other(line: str) -> None:
    read = ledger.parse(f"{json.dumps(entry())}\n[12, 34]\n{line}\n[56, 78]\n")
    assert read is not None
    assert read[1] == ((12, 34), (56, 78))


def test_a_line_that_did_not_fit_costs_no_other(path: str, other: subprocess.Popen[bytes]) -> None:
    """The file may not become larger for a while, as on a disk that is full."""
    program = (
        "import os, resource, signal, sys\n"
        "from gracefulexitcmd.posix.ledger import Entry, Ledger\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "ledger = Ledger(sys.argv[1], Entry('job', 'place', 'cookie', 0, 1.0, None, ()))\n"
        "size = os.stat(sys.argv[1]).st_size\n"
        "for more in (3, 3, -1):\n"
        "    limit = size + more if more > 0 else resource.RLIM_INFINITY\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "    ledger.started(os.getppid())\n"
        "ledger.close()\n"
    )
    subprocess.run([sys.executable, "-c", program, path], check=True)
    with open(path) as file:
        read = ledger.parse(file.read())
    assert read is not None
    assert read[1] == (identity(os.getpid()),)


@pytest.mark.parametrize(
    "text", ["", "\n", "[1, 2]\n", "nonsense\n", "{}\n", '["job"', "[" * 200_000 + "\n"], ids=range(7)
)
def test_a_ledger_without_an_entry_says_nothing(text: str) -> None:
    assert ledger.parse(text) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": 5},
        {"place": 5},
        {"cookie": ""},
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
def test_an_entry_that_was_damaged_is_none(wrong: dict[str, object]) -> None:
    line = json.dumps(list((entry()._asdict() | wrong).values()))
    assert ledger.parse(f"{line}\n") is None


def test_a_pipe_in_its_place_is_not_waited_for(path: str) -> None:
    os.mkfifo(path)
    assert found(path) is None


def test_it_is_abandoned_when_all_owners_are_gone(path: str, other: subprocess.Popen[bytes]) -> None:
    write(path, entry(GONE, identity(other.pid)))
    assert found(path) is None
    other.kill()
    other.wait()
    assert found(path) is not None


def test_an_owner_whose_number_was_given_to_another_process_is_gone(path: str, other: subprocess.Popen[bytes]) -> None:
    pid, start_time = identity(other.pid)
    write(path, entry((pid, start_time - 1)))
    assert found(path) is not None


def test_what_this_process_watches_it_does_not_find_unless_it_asks(path: str) -> None:
    write(path, entry(GONE, identity(os.getpid())))
    assert found(path) is None
    assert found(path, watched_here=True) is not None


def test_what_others_watch_is_not_watched_here(path: str) -> None:
    write(path, entry(GONE))
    assert found(path, watched_here=True) is None


def test_after_a_new_start_of_the_system_it_is_abandoned_and_nobody_is_left(path: str) -> None:
    write(path, entry(identity(os.getpid()), place=LONG_AGO), os.getpid())
    with remains(path) as left:
        assert left is not None
        assert (left.name, left.grace, left.members()) == ("job", 2.5, [])


def test_in_another_pid_namespace_nothing_is_known_of_its_owners(path: str) -> None:
    boot = ledger.place().split()[0]
    write(path, entry(GONE, place=f"{boot} 1"))
    assert found(path) is None


def test_only_one_at_a_time_can_have_it(path: str) -> None:
    write(path, entry(GONE))
    with open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert found(path) is None
    assert found(path) is not None


def test_a_link_or_nothing_is_no_ledger(path: str) -> None:
    assert found(path) is None
    write(path, entry(GONE))
    os.symlink(path, f"{path}-link")
    assert found(f"{path}-link") is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_ledger_of_another_user_is_left_alone(path: str) -> None:
    write(path, entry(GONE))
    os.chown(path, 65534, 65534)
    assert found(path) is None


def test_who_has_the_number_of_a_leader_is_left_alone(other: subprocess.Popen[bytes]) -> None:
    pid, start_time = identity(other.pid)
    assert Remains(entry(GONE), ((pid, start_time - 1),)).members() == []
    left = Remains(entry(GONE), ((pid, start_time),))
    assert [left.how(process) for process in left.members()] == ["leader"]


def test_a_group_is_known_only_by_a_member_that_is(path: str) -> None:
    """Its leader has ended; its number may have been given away since, and not by us."""
    member = shlex.join([sys.executable, "-I", "-S", "-c", "import signal; print(flush=True); signal.pause()"])
    script = f"GRACEFULEXITCMD_COOKIE={MINE} {member} & {member} &"
    since = linux.ticks_since_boot()
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, process_group=0) as leader:
        assert leader.stdout is not None
        leader_identity = identity(leader.pid)
        assert [leader.stdout.readline(), leader.stdout.readline()] == [b"\n", b"\n"]
    ways = []
    for cookie in ("another", MINE):
        left = Remains(entry(GONE, cookie=cookie, since=since), (leader_identity,))
        ways.append(sorted(left.how(process) for process in left.members()))
    os.killpg(leader.pid, 9)
    assert ways == [[], ["cookie", "group"]]


def test_a_process_that_belongs_to_it_leaves_it_alone(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step can start a step runner of its own, which carries the cookie of the job that it is in."""
    write(path, entry(GONE))
    monkeypatch.setenv("GRACEFULEXITCMD_COOKIE", f"outer:{MINE}")
    with remains(path) as left:
        assert left is None
