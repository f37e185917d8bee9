"""The streams of a step: one pipe for both, which the server copies to the log while the job runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.absent import absent
from tests.support.steps import script

from gracefulexitcmd.posix.takeover import UNREAD
from step_runner.model import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.api.conftest import Server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/dev/stderr opens a pipe anew on Linux only")

PYTHON = f"{sys.executable} -c"

SYSTEM_PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
"""An interpreter that all users can run, on most machines."""

WAYS = {
    "echo": "echo way > /dev/{0}",
    "append": "echo way >> /dev/{0}",
    "tee": "echo way | tee /proc/$$/fd/{1} > /dev/null",
    "cp": "cp way /dev/{0}",
    "dd": "dd if=way of=/dev/{0} status=none",
    "python3": SYSTEM_PYTHON + """ -c 'print("way", file=open("/dev/{0}", "w"))'""",
    "curl": 'curl --silent --output /dev/{0} "file://$PWD/way"',
}
"""Ways to open a stream again and write to it, with truncation if possible."""

DESCRIPTORS = {"stdout": 1, "stderr": 2}

AS_NOBODY = "setpriv --reuid=65534 --regid=65534 --clear-groups "


def users() -> list[str]:
    """Return command prefixes: none, and one for another user if this user may switch."""
    return ["", AS_NOBODY] if os.getuid() == 0 and shutil.which("setpriv") is not None else [""]


@pytest.mark.parametrize("user", users(), ids=lambda user: "nobody" if user else "own")
@pytest.mark.parametrize("stream", DESCRIPTORS)
@pytest.mark.parametrize("way", WAYS)
def test_reopened_stream_loses_nothing(server: Server, work_dir: Path, way: str, stream: str, user: str) -> None:
    """The live and the stored log hold every byte. A descendant of another user can write too."""
    if (way == "curl" and shutil.which("curl") is None) or (way == "python3" and user and sys.executable in WAYS[way]):
        absent(f"{way} for all users")
    (work_dir / "way").write_text("way\n")
    for directory in (work_dir, *work_dir.parents):
        if user and not directory.stat().st_mode & 0o001:
            directory.chmod(0o711)
    os.chmod(work_dir / "way", 0o644)
    writes = WAYS[way].format(stream, DESCRIPTORS[stream])
    (work_dir / "writes").write_text(writes)
    os.chmod(work_dir / "writes", 0o644)
    text = f"echo before; {user}sh writes || echo failed; echo after"
    job = server.start(script(text, "echo next"), work_dir=str(work_dir))
    whole = b"Running step name=s1\nbefore\nway\nafter\nRunning step name=s2\nnext\n"
    assert (server.log(job), server.log(job)) == (whole, whole)


@pytest.mark.skipif(len(users()) == 1, reason="only root can start a process of another user")
def test_stream_is_closed_to_other_users(server: Server) -> None:
    """The mode of the pipe lets every user write, but only a process that inherits it can reach it."""
    job = server.start_ready("echo ready; exec sleep 1000")
    (step,) = server.jobs_processes()
    intruder = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "sh",
        "-c",
        f"echo x > /proc/{step.pid}/fd/1",
    ]
    refused = subprocess.run(intruder, capture_output=True, text=True)
    server.client.cancel(job)
    assert "Permission denied" in refused.stderr
    assert b"x\n" not in server.log(job)


def test_streams_keep_the_order_of_writing(server: Server) -> None:
    """Ten thousand lines, written to both streams by turns, arrive in their order."""
    program = "import os\nfor i in range(20_000): os.write(1 + i % 2, b'%d\\n' % i)"
    _, log = server.run(f'{PYTHON} "{program}"')
    assert log == b"".join(b"%d\n" % number for number in range(20_000))


def test_step_has_only_its_three_streams(server: Server) -> None:
    """A step has descriptors 0, 1 and 2; the fourth in the list is that of ls itself."""
    _, log = server.run("ls -l /proc/self/fd | sed 's/.* \\([0-9]\\) -> \\([^:]*\\).*/\\1 \\2/'")
    assert [line for line in log.splitlines() if b"/proc" not in line][1:] == [b"0 /dev/null", b"1 pipe", b"2 pipe"]


def test_stream_of_large_output_takes_little_memory(server: Server) -> None:
    """A step prints 500 megabytes, and the server's memory hardly grows."""
    server.ended(server.start("head --bytes=1M /dev/zero"))
    before = _private(server)
    job = server.start("head --bytes=500M /dev/zero")
    assert sum(map(len, server.client.follow(job))) > 500 << 20
    assert _private(server) - before < 20 << 20


def _private(server: Server) -> int:
    """Return the bytes of private memory of the server's processes."""
    return sum(psutil.Process(pid).memory_full_info().uss for pid in (server.process.pid, server.worker.pid))


def test_stream_of_short_step_arrives_before_next_line(server: Server) -> None:
    """A thousand steps print and exit at once: all output arrives, before the line of the next step."""
    count = 1000
    job = server.start(script(*["echo $PPID-out"] * count))
    lines = server.log(job).splitlines()
    assert [line.partition(b"=")[0] for line in lines[::2]] == [b"Running step name"] * count
    assert [line.partition(b"-")[2] for line in lines[1::2]] == [b"out"] * count
    assert len(lines) == 2 * count


def test_stream_of_background_process_stays_open(server: Server, work_dir: Path) -> None:
    """Its output during later steps arrives without delay, and it does not keep a step from ending."""
    for name in ("second", "third"):
        os.mkfifo(work_dir / name)
    printer = "(for gate in second third; do read x < $gate; echo printed $gate; echo > $gate; done; sleep 1000) &"
    later = "echo > {0}; read x < {0}"
    job = server.start(script(printer, later.format("second"), later.format("third")), work_dir=str(work_dir))
    steps = server.log(job).partition(b"Stopping")[0]
    assert steps == (
        b"Running step name=s1\nRunning step name=s2\nprinted second\nRunning step name=s3\nprinted third\n"
    )
    assert server.client.status(job).status is Status.SUCCESS


SHOWN = (
    f"{PYTHON} 'import fcntl, os; status = os.fstat(1); "
    "print(status.st_ino, oct(status.st_mode), status.st_gid, fcntl.fcntl(1, fcntl.F_GETPIPE_SZ), os.get_blocking(1))'"
)
"""Prints the inode, mode, group, size and flags of a step's pipe."""

CHANGES = {
    "flags": "import os; os.set_blocking(1, False)",
    "mode": "import os; os.fchmod(1, 0)",
    "size": "import fcntl; fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 4096)",
    **({"group": "import os; os.fchown(1, -1, 65534)"} if os.getuid() == 0 else {}),
}

BACKGROUND = {
    "writer": "sleep 1000 &",
    "reader": f"{PYTHON} 'from subprocess import *; "
    'Popen(["sleep", "1000"], stdin=open("/dev/stdout"), stdout=DEVNULL, stderr=DEVNULL)\'',
}
"""Steps that leave a process with their stream."""


@pytest.mark.parametrize("change", CHANGES)
def test_stream_shows_no_change_by_earlier_step(server: Server, change: str) -> None:
    """A pipe that no process holds any more serves the next step too, but nothing shows that."""
    log = server.log(server.start(script(SHOWN, f'{PYTHON} "{CHANGES[change]}"', SHOWN)))
    first, last = (line.split()[1:] for line in log.splitlines() if not line.startswith(b"Running"))
    assert first == last


@pytest.mark.parametrize("left", BACKGROUND)
def test_stream_of_background_process_serves_no_later_step(server: Server, left: str) -> None:
    """A later step gets another pipe, as long as a process can write to the one before, or read its output."""
    log = server.log(server.start(script(SHOWN, SHOWN, BACKGROUND[left], SHOWN)))
    first, second, last = (line.split()[0] for line in log.splitlines() if line[:1].isdigit())
    assert first == second != last


def test_job_that_goes_on_holds_four_descriptors(server: Server) -> None:
    """They are those of its log, of its pipe, of its process and of the waiting for both."""
    first = server.start_ready("echo ready; exec sleep 1000")  # the server holds some for all jobs together
    before = server.descriptors()
    jobs = [server.start_ready("echo ready; exec sleep 1000") for _ in range(5)]
    server.wait_for_descriptors(before + 4 * len(jobs))
    for job in (first, *jobs):
        server.client.cancel(job)


def test_flood_of_background_process_delays_no_step(server: Server) -> None:
    """A process that prints without end delays neither the next step nor the end of the job."""
    job = server.start(script("yes &", "echo second", "echo third"))
    log = server.log(job)
    assert b"Running step name=s3\n" in log
    assert b"third\n" in log


def test_last_output_of_background_process_arrives(server: Server, work_dir: Path) -> None:
    """Its output after SIGTERM at the end of the job is in the log."""
    os.mkfifo(work_dir / "ready")
    cleans = "(trap 'echo cleaned; exit' TERM; echo > ready; while :; do sleep 0.01; done) & read x < ready"
    assert b"\ncleaned\n" in server.log(server.start(cleans, work_dir=str(work_dir)))


def test_pipes_are_closed_when_their_job_has_ended(server: Server) -> None:
    """The worker has none open, although background processes had them until the end; the supervisor at most a few."""
    server.ended(server.start("true"))
    before = (psutil.Process(server.process.pid).num_fds(), server.descriptors())
    for _ in range(20):
        server.ended(server.start(script("sleep 1000 &", "sleep 1000 &", "echo x")))
    server.wait_for_descriptors(before[1])
    assert psutil.Process(server.process.pid).num_fds() <= before[0] + 2 * UNREAD


TRAP = """\
trap 'i=0; while [ $i -lt 5000 ]; do echo cleaning up $i; i=$((i + 1)); done; echo > cleaned; exit' TERM
echo ready
while :; do sleep 0.01; done
"""


def test_killed_worker_lets_trap_finish(serve: Callable[..., Server], work_dir: Path) -> None:
    """The supervisor of the worker goes on reading the output of a step that cleans up."""
    server = serve("--graceful-exit-delay", "20s")
    server.start_ready(TRAP, work_dir=str(work_dir))
    log = open(next(server.temporary.glob("step-runner-output-*/logs")), "rb")  # noqa: SIM115
    with contextlib.closing(log):
        server.worker.send_signal(signal.SIGKILL)
        assert server.wait() == 128 + signal.SIGKILL
        assert (work_dir / "cleaned").exists()
        written = log.read()
    assert b"\ncleaning up 0\n" in written
    assert written.endswith(b"cleaning up 4999\n")


def test_killed_worker_lets_trap_of_later_step_finish(serve: Callable[..., Server], work_dir: Path) -> None:
    """The supervisor reads on for a step that got the pipe of an earlier one."""
    server = serve("--graceful-exit-delay", "20s")
    job = server.start(script("echo first", TRAP), work_dir=str(work_dir))
    server.wait_for(job, b"ready\n")
    server.worker.send_signal(signal.SIGKILL)
    assert server.wait() == 128 + signal.SIGKILL
    assert (work_dir / "cleaned").exists()
