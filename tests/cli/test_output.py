"""The output of steps of `run` and `ci` reaches this program's own outputs, whatever reads them, and how."""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.steps import script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there steps write to these outputs themselves")

PYTHON = f"{sys.executable} -c"
RUN = [sys.executable, "-m", "step_runner", "run", "."]
ALTERNATES = "import os\nfor i in range(20_000): os.write(1 + i % 2, b'%d\\n' % i)"
NUMBERS = b"".join(b"%d\n" % number for number in range(20_000))
SETS_NONBLOCK = f"{PYTHON} 'import os; os.set_blocking(1, False); os.set_blocking(2, False)'"


class Output:
    """A pipe as stdout and stderr of `step-runner run`."""

    def __init__(self, directory: Path, *scripts: str) -> None:
        (directory / "func.yml").write_text(script(*scripts))
        self.read_end, self.write_end = os.pipe()
        self.process = subprocess.Popen(
            RUN, cwd=directory, stdin=subprocess.DEVNULL, stdout=self.write_end, stderr=self.write_end
        )

    def rest(self) -> bytes:
        """Return all output, up to its end."""
        os.close(self.write_end)
        with open(self.read_end, "rb") as file:
            return file.read()

    def wait_until_full(self) -> None:
        """Wait until nothing more fits into the pipe."""
        poll = select.poll()
        poll.register(self.write_end, select.POLLOUT)
        while poll.poll(0):
            assert self.process.poll() is None


@pytest.mark.parametrize("stdout", [subprocess.PIPE, subprocess.STDOUT], ids=["two", "one"])
def test_merged_streams_keep_their_order(tmp_path: Path, stdout: int) -> None:
    """Two streams are each in order; where both are one file, every line is where it was written."""
    (tmp_path / "func.yml").write_text(script(f'{PYTHON} "{ALTERNATES}"'))
    one = stdout == subprocess.STDOUT
    ended = subprocess.run(
        RUN, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT if one else subprocess.PIPE, check=True
    )
    lines = NUMBERS.splitlines()
    if one:
        assert ended.stdout.splitlines()[1:] == lines
    else:
        assert (ended.stdout.splitlines(), ended.stderr.splitlines()[1:]) == (lines[::2], lines[1::2])


def test_nonblocking_output_of_step_ends_with_step(tmp_path: Path) -> None:
    """The O_NONBLOCK of a step affects neither the next step nor us, even if our reader is slow."""
    output = Output(tmp_path, SETS_NONBLOCK, "seq 60000")
    output.wait_until_full()
    assert not fcntl.fcntl(output.write_end, fcntl.F_GETFL) & os.O_NONBLOCK
    written = output.rest()
    assert output.process.wait() == 0
    assert written.partition(b"name=s2\n")[2] == b"".join(b"%d\n" % number for number in range(1, 60_001))


def test_nonblocking_output_of_runner_loses_nothing(tmp_path: Path) -> None:
    """Another program that shares our stdout has set O_NONBLOCK, and its reader is slow."""
    output = Output(tmp_path, "seq 60000")
    os.set_blocking(output.write_end, False)
    output.wait_until_full()
    written = output.rest()
    assert output.process.wait() == 0
    assert written.endswith(b"\n59999\n60000\n")
    assert len(written.splitlines()) == 1 + 60_000


def test_slow_reader_makes_step_wait(tmp_path: Path) -> None:
    """A step that prints much is held back by our reader; the output does not pile up in memory."""
    output = Output(tmp_path, "echo > begun; head --bytes=300M /dev/zero; echo > written")
    output.wait_until_full()
    (worker,) = psutil.Process(output.process.pid).children()
    before = worker.memory_full_info().uss
    read = 0
    while read < 64 << 20:
        read += len(os.read(output.read_end, 1 << 16))
    assert worker.memory_full_info().uss - before < 20 << 20
    assert not (tmp_path / "written").exists()
    assert len(output.rest()) > 200 << 20
    assert output.process.wait() == 0


CLEANS = "i=0; while [ $i -lt 5000 ]; do echo cleaning $i; i=$((i + 1)); done; echo > cleaned; exit"
"""No process is started for that: it might get SIGTERM itself."""

TRAP = f"trap '{CLEANS}' TERM; echo ready; while :; do echo more; sleep 0.01; done"


@pytest.mark.parametrize("name", ["run", "ci"])
def test_output_without_reader_stops_step_gracefully(tmp_path: Path, name: str) -> None:
    """When the reader of our output has gone, the step gets SIGTERM, and can print while it cleans up."""
    (tmp_path / "func.yml").write_text(script(TRAP))
    steps = json.dumps([{"name": "a", "script": TRAP}])
    command = [sys.executable, "-m", "step_runner", name, *(["."] if name == "run" else [])]
    with subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "STEPS": steps}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.stdout.close()
        assert process.wait() == 141
    assert (tmp_path / "cleaned").exists()


def test_full_disk_of_output_fails_step(tmp_path: Path) -> None:
    """The step's error says why its output could not be written."""
    (tmp_path / "func.yml").write_text(script("echo x", "echo unreached > unreached"))
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(RUN, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, check=False)
    assert ended.returncode == 1
    assert b'step "s1": exec: its output cannot be written: No space left on device' in ended.stderr
    assert not (tmp_path / "unreached").exists()


def test_killed_worker_lets_trap_of_run_finish(tmp_path: Path) -> None:
    """The supervisor of the worker goes on reading, and the output of a trap arrives."""
    (tmp_path / "func.yml").write_text(script(TRAP.replace("echo more; ", "")))
    with subprocess.Popen(RUN, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        (worker,) = psutil.Process(process.pid).children()
        worker.kill()
        assert process.stdout.read().splitlines()[-1] == b"cleaning 4999"
        assert process.wait() == 137
    assert (tmp_path / "cleaned").exists()


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Output]:
    """A run whose reader reads nothing."""
    output = Output(tmp_path, "echo > begun; trap 'exit 0' TERM; while :; do echo x; done")
    output.wait_until_full()
    yield output
    output.process.kill()
    output.process.wait()


def test_blocked_reader_delays_no_second_stop(stuck: Output) -> None:
    """The second Ctrl-C, or SIGQUIT, ends also the waiting for the reader."""
    stuck.process.terminate()
    stuck.process.send_signal(3)
    assert stuck.process.wait() in (128 + 15, 128 + 3)
    os.close(stuck.read_end)
    os.close(stuck.write_end)
