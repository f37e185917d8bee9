"""The output of steps under `run` and `ci` on Windows: pipes, their order, and slow or closed readers."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows, or Wine: make test-windows", allow_module_level=True)

from step_runner.jobs.windows_pipes import Pipes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(180)

LAUNCH = str(Path(__file__).parent / "wine" / "launch.py")

EVERY_BYTE = bytes(range(256)) + b"\r\n\n\r\x1a\x00"
"""All bytes: line breaks, the end of a text file of MS-DOS (0x1A), and bytes that are not UTF-8."""

ABOUT_FIRST = b"Running step name=s0\n"
"""The runner's line before the output of the first step."""

TERMINATED = 128 + 15


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Return a function that starts `run` with a step per Python program: `runner(*programs, stderr=, arguments=)`."""
    started: list[subprocess.Popen[bytes]] = []

    def runner(
        *programs: str, stderr: int = subprocess.STDOUT, arguments: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, LAUNCH, "step_runner", "run", str(_steps(tmp_path, programs)), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
        )
        started.append(process)
        return process

    yield runner
    for process in started:
        process.kill()
        with process:  # closes its pipes, and waits for its end
            pass


def _steps(directory: Path, programs: tuple[str, ...]) -> Path:
    lines = ["spec: {}\n---\nrun:\n"]
    for number, program in enumerate(programs):
        command = json.dumps([sys.executable, "-c", program])
        step = directory / f"step{number}.yml"
        step.write_text(f"spec: {{}}\n---\nexec:\n  command: {command}\n", encoding="utf-8")
        lines.append(f"  - {{name: s{number}, func: '{step.as_posix()}'}}\n")
    path = directory / "all.yml"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def test_bytes_of_each_stream_pass_unchanged(runner: Callable[..., subprocess.Popen[bytes]]) -> None:
    """Proves Windows."""
    program = f"import os\nos.write(1, b'out' + {EVERY_BYTE!r})\nos.write(2, b'err' + {EVERY_BYTE!r})"
    process = runner(program, stderr=subprocess.PIPE)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output, errors) == (0, b"out" + EVERY_BYTE, ABOUT_FIRST + b"err" + EVERY_BYTE)


def test_shared_output_keeps_order_of_streams(runner: Callable[..., subprocess.Popen[bytes]]) -> None:
    """Proves Windows: if the runner's stdout and stderr are one, a step has one pipe for both."""
    program = "import os\nfor number in range(2000): os.write(1 + number % 2, b'%d\\n' % number)"
    output, _ = runner(program).communicate(timeout=120)
    assert output == ABOUT_FIRST + b"".join(b"%d\n" % number for number in range(2000))


def test_step_has_its_own_pipes(runner: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    """Proves Windows: one pipe if the runner's stdout and stderr are one, else two, and never its own output."""
    compare = (
        "import ctypes, msvcrt, os, sys\n"
        "same = ctypes.WinDLL('kernelbase').CompareObjectHandles\n"
        "same.argtypes = (ctypes.c_void_p, ctypes.c_void_p)\n"
        "print(same(msvcrt.get_osfhandle(1), msvcrt.get_osfhandle(2)))"
    )
    assert runner(compare).communicate(timeout=120)[0].split()[-1:] == [b"1"]
    assert runner(compare, stderr=subprocess.PIPE).communicate(timeout=120)[0].split()[-1:] == [b"0"]
    path = tmp_path / "file"
    whole = "import os\nos.write(1, b'x' * 10)\nos.lseek(1, 0, 0)"
    with path.open("wb") as file:
        done = subprocess.run(
            [sys.executable, LAUNCH, "step_runner", "run", str(_steps(tmp_path, (whole,)))],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.PIPE,
            timeout=120,
        )
    assert done.returncode != 0, "a pipe has no position"
    assert path.read_bytes() == b"x" * 10


def test_output_of_step_precedes_next_step(runner: Callable[..., subprocess.Popen[bytes]]) -> None:
    """Proves Windows: also output just before the step's end, while a background process holds the pipe."""
    left = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    write = "import os\nos.write(1, b'{0}' * 100000)\nos.write(2, b'{0}\\n')\nos._exit(0)"
    programs = [left + write.format(0), *(write.format(number) for number in range(1, 8))]
    output = _read_slowly(runner(*programs, arguments=("--graceful-exit-delay", "0")))
    lines = [line for line in output.splitlines() if line[:1].isdigit() or line.startswith(b"Running")]
    expected = [(b"Running step name=s%d" % number, b"%d" % number * 100001) for number in range(8)]
    assert lines == [line for pair in expected for line in pair]


async def test_settle_moves_bytes_just_written() -> None:
    """Proves Windows: this includes a read that the system has already completed."""
    pipes, outlet = Pipes(), Collected()
    write_end = pipes.open(outlet).write_end
    assert write_end is not None
    for number in range(1, 1001):
        os.write(write_end, b"x")
        await pipes.settle()
        assert len(outlet.content) == number
    pipes.close()
    await asyncio.sleep(0)


class Collected:
    """The bytes that came out of a pipe."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, content: bytes) -> None:
        """Keep it."""
        self.content += content


def test_flood_of_background_process_delays_no_step(runner: Callable[..., subprocess.Popen[bytes]]) -> None:
    """Proves Windows: the end of a step waits only for output that was written before it."""
    flood = "import os\nwhile True: os.write(1, b'f' * 100 + b'\\n')"
    first = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {flood!r}])"
    process = runner(first, "print('second')", arguments=("--graceful-exit-delay", "0"))
    output, _ = process.communicate(timeout=150)
    assert (process.returncode, b"second" in output) == (0, True), "it may be in the middle of a line of the flood"


def test_last_output_of_background_process_arrives(
    runner: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """Stand-in for CTRL_BREAK: the output contains bytes that a background process writes while it is stopped."""
    ready = tmp_path / "ready"
    background = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGBREAK, lambda *_: (os.write(1, b'w' * 300000 + b'bye'), os._exit(0)))\n"
        f"open({str(ready)!r}, 'w').close()\n"
        "while True: time.sleep(0.05)\n"
    )
    step = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {background!r}])\n"
        f"while not os.path.exists({str(ready)!r}): time.sleep(0.01)\n"
    )
    output = _read_slowly(runner(step))
    assert b"w" * 300000 + b"bye" in output, output[-500:]


def test_closed_output_stops_job_gracefully(runner: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    """Stand-in for CTRL_BREAK: the printing step gets it, and cleans up."""
    mark = tmp_path / "mark"
    program = (
        "import os, signal, sys, time\n"
        f"signal.signal(signal.SIGBREAK, lambda *_: (open({str(mark)!r}, 'w').close(), os._exit(0)))\n"
        "while True:\n    os.write(1, b'line\\n')\n    time.sleep(0.01)\n"
    )
    process = runner(program, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    assert process.wait(60) == TERMINATED
    assert b"Stopping" in errors
    assert mark.exists()


FLOOD = """
import os, signal
signal.signal(signal.SIGBREAK, signal.SIG_IGN)
with open({progress!r}, "wb", 0) as progress:
    for _ in range({times}):
        os.write(1, b"x" * 65536)
        progress.write(b".")
"""


def test_slow_reader_blocks_step(runner: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    """Proves Windows: the runner does not buffer the 16 MiB in its memory, and no byte is lost."""
    progress = tmp_path / "progress"
    process = runner(FLOOD.format(progress=str(progress), times=256))
    assert _standing(progress) < 32
    output, _ = process.communicate(timeout=120)
    assert (process.returncode, output == ABOUT_FIRST + b"x" * (1 << 24)) == (0, True)


def test_blocked_reader_does_not_delay_end_of_stopped_job(
    runner: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, press: Callable[..., None]
) -> None:
    """Stand-in for the key: the job and the runner end after the grace period."""
    progress = tmp_path / "progress"
    process = runner(FLOOD.format(progress=str(progress), times=1000000), arguments=("--graceful-exit-delay", "1s"))
    assert _standing(progress) < 32
    press(process.pid)
    assert process.wait(60) == 128 + 21


def _read_slowly(process: subprocess.Popen[bytes]) -> bytes:
    """Read all output so slowly that the runner always has unwritten output."""
    assert process.stdout is not None
    output = b""
    while chunk := os.read(process.stdout.fileno(), 4096):
        output += chunk
        time.sleep(0.002)
    return output


def _standing(path: Path) -> int:
    """Wait until a file has content and has not grown for a second; return its size in bytes."""
    sizes = [0, -1]
    while sizes[-1] <= 0 or len(set(sizes[-10:])) > 1:
        time.sleep(0.1)
        sizes.append(os.path.getsize(path) if path.exists() else 0)
    return sizes[-1]
