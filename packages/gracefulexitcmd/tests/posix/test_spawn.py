"""A command gets its signals, whatever its parent blocks or ignores, and the parent's state is unchanged."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gracefulexitcmd import PIPE, Cmd, run
from gracefulexitcmd.posix import spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIGHUP_BIT, SIGPIPE_BIT, SIGTERM_BIT = (1 << number - 1 for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM))


@contextlib.contextmanager
def _blocking(*numbers: signal.Signals) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _ignoring(*numbers: signal.Signals) -> Iterator[None]:
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def _ignoring_in_c(number: signal.Signals) -> Iterator[None]:
    """Ignore a signal behind Python's back, as a library in C may do."""
    ctypes.CDLL(None).signal(int(number), ctypes.c_void_p(signal.SIG_IGN))
    try:
        assert signal.getsignal(number) == signal.SIG_DFL
        yield
    finally:
        signal.signal(number, signal.SIG_DFL)


WAYS: dict[str, Any] = {
    "nothing blocked": contextlib.nullcontext,
    "SIGTERM blocked": lambda: _blocking(signal.SIGTERM),
    "SIGTERM ignored": lambda: _ignoring(signal.SIGTERM),
    "SIGTERM ignored in C": lambda: _ignoring_in_c(signal.SIGTERM),
}


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def parent(request: pytest.FixtureRequest) -> Iterator[None]:
    """Yield this process with its signals in one of these states."""
    with request.param():
        yield


def _states() -> dict[str, int]:
    ended = Cmd(["cat", "/proc/self/status"], stdout=subprocess.PIPE).run()
    lines = (line.split(":\t") for line in (ended.stdout or b"").decode().splitlines())
    return {name: int(value, 16) for name, value in lines if name in ("SigBlk", "SigIgn")}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the masks")
@pytest.mark.usefixtures("parent")
def test_command_starts_with_empty_mask_and_stop_signal() -> None:
    """SIGPIPE, which Python ignores, has its default action; another ignored signal, as by nohup(1), stays ignored."""
    with _ignoring(signal.SIGHUP):
        states = _states()
    assert states["SigBlk"] == 0
    assert not states["SigIgn"] & (SIGTERM_BIT | SIGPIPE_BIT)
    assert states["SigIgn"] & SIGHUP_BIT


@pytest.mark.usefixtures("parent")
def test_trap_of_a_cancelled_command_runs(program: Callable[..., list[str]]) -> None:
    reader, writer = os.pipe()
    command = Cmd(program("trap.sh", "0"), stdout=subprocess.PIPE, stderr=writer)
    command.start()
    os.close(writer)
    with open(reader, "rb") as ready:
        assert ready.readline() == b"ready\n"
    command.cancel()
    assert command.wait().stdout == b"trapped\n"


SIGWAIT = """
import os, signal, subprocess, sys, threading
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
from gracefulexitcmd import Cmd
heard = 0
def listen():
    global heard
    while signal.sigwait([signal.SIGTERM, signal.SIGUSR1]) == signal.SIGTERM:
        heard += 1
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
thread = threading.Thread(target=listen, daemon=True)
thread.start()
sender = subprocess.Popen(["sh", "-c", 'while kill -TERM "$1" 2>/dev/null; do :; done', "sender", str(os.getpid())])
try:
    for _ in range(200):
        assert Cmd(["true"]).run().ok
finally:
    sender.kill(), sender.wait()
assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])
os.kill(os.getpid(), signal.SIGUSR1)
thread.join()
print("heard" if heard else "deaf")
"""


def test_program_using_sigwait_keeps_its_signals() -> None:
    """SIGTERM would end it if one of thousands arrived unblocked during a start."""
    ended = subprocess.run([sys.executable, "-c", SIGWAIT], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "heard\n", "")


FAULTS: dict[str, dict[str, Any]] = {
    "no such program": {"argv": ["no-such-program"]},
    "no such path": {"argv": ["./no-such-program"]},
    "not executable": {"argv": ["./text"]},
    "a directory": {"argv": ["./directory"]},
    "no format": {"argv": ["./empty"]},
    "below a file": {"argv": ["./text/program"]},
    "no such cwd": {"argv": ["true"], "cwd": "no-such-directory"},
    "cwd is a file": {"argv": ["true"], "cwd": "text"},
    "cwd is empty": {"argv": ["true"], "cwd": ""},
    "cwd has a NUL": {"argv": ["true"], "cwd": "directory\0"},
    "neither": {"argv": ["no-such-program"], "cwd": "no-such-directory"},
    "not in the cwd": {"argv": ["./no-such-program"], "cwd": "directory"},
    "not in the PATH of env": {"argv": ["true"], "env": {"PATH": "/no-such-directory"}},
    "not executable in the PATH": {"argv": ["text"], "env": {"PATH": "/no-such-directory:.:/"}},
    "no such program in bytes": {"argv": [b"no-such-program"], "cwd": Path("directory")},
    "no such cwd in bytes": {"argv": [Path("true")], "cwd": b"no-such-directory"},
    "NUL": {"argv": ["true", "a\0b"]},
    "name of a variable": {"argv": ["true"], "env": {"A=B": "c"}},
    "half a surrogate pair": {"argv": ["true", "\ud800"]},
}


@pytest.mark.parametrize("arguments", FAULTS.values(), ids=FAULTS.keys())
def test_start_error_is_that_of_subprocess(
    arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error number, its file name and its type are the same."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "directory").mkdir()
    (tmp_path / "text").write_text("text")
    (tmp_path / "empty").write_text("")
    (tmp_path / "empty").chmod(0o755)

    def failure(start: Callable[[], object]) -> tuple[object, ...]:
        with pytest.raises((OSError, ValueError)) as caught:
            start()
        error = caught.value
        return type(error), getattr(error, "errno", str(error)), getattr(error, "filename", None)

    assert failure(Cmd(**arguments).start) == failure(lambda: subprocess.Popen(arguments.pop("argv"), **arguments))


def _run(directory: Path, runs: Callable[..., Any] = run) -> tuple[int | None, str]:
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    script = "cat; echo $A; pwd; echo error >&2; echo /proc/self/fd/*; ps -o pgid= -p $$ | grep -c $$; exit 7"
    try:
        with open(directory / "out", "w+b") as out:
            ended = runs(
                ["sh", "-c", script],
                input=b"given\n",
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd="/usr",
                env={**os.environ, "A": "value"},
            )
            out.seek(0)
            return ended.returncode, out.read().decode()
    finally:
        os.close(inherited)


@pytest.mark.usefixtures("parent")
def test_start_options_are_those_of_subprocess(tmp_path: Path) -> None:
    """Streams, directory and environment are the same, and no other descriptor is inherited."""
    expected = _run(tmp_path, partial(subprocess.run, process_group=0))
    assert expected[0] == 7
    assert _run(tmp_path) == expected


@pytest.mark.parametrize("stdout", [1, 2], ids=["as they are", "exchanged"])
def test_standard_descriptors_may_be_exchanged(stdout: int) -> None:
    program = (
        "import signal, subprocess, sys\nfrom gracefulexitcmd import Cmd\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        f"Cmd(['sh', '-c', 'echo out; echo err >&2'], stdout={stdout}, stderr={3 - stdout}).run()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == (("out\n", "err\n") if stdout == 1 else ("err\n", "out\n"))


def test_descriptors_are_closed_without_closefrom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """musl lacks closefrom, and so does glibc before 2.34."""
    libc = spawn.libc()

    class Older:
        def __getattr__(self, name: str) -> object:
            if name.endswith("addclosefrom_np"):
                raise AttributeError(name)
            return getattr(libc, name)

    _, expected = _run(tmp_path)
    monkeypatch.setattr(spawn, "libc", Older)
    assert _run(tmp_path)[1] == expected


def test_program_and_directory_may_be_bytes(tmp_path: Path) -> None:
    """`subprocess` takes them, so that any path of the system can be passed."""
    arguments: Any = {"cwd": os.fsencode(tmp_path), "stdout": PIPE}
    assert run([b"pwd"], **arguments).stdout == os.fsencode(tmp_path) + b"\n"  # type: ignore[list-item]
    arguments["cwd"] += b"/no-such-directory"
    with pytest.raises(FileNotFoundError, match="no-such-directory"):
        run([b"pwd"], **arguments)  # type: ignore[list-item]


def test_child_starts_without_any_variable() -> None:
    assert spawn.spawn(["/bin/sh", "-c", "exit 7"], {}, None, (None, None, None), ()).wait() == 7


@pytest.mark.parametrize("wrong", [{"A=B": "x"}, {"A": "x\0y"}, {"A": "x", "B\0": "y"}, {b"A": "x", "B=": "y"}])
def test_spawn_refuses_variables_that_cannot_be_passed(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"illegal environment variable name|embedded null byte"):
        spawn.spawn(["true"], wrong, None, (None, None, None), ())


@pytest.mark.parametrize("value", ["ü", "\udcff", b"\xff", Path("/x")])
def test_spawn_passes_variables_of_each_type(value: Any) -> None:
    reader, writer = os.pipe()
    child = spawn.spawn(["/bin/sh", "-c", 'printf %s "$A"'], {"A": value}, None, (None, writer, None), ())
    os.close(writer)
    with open(reader, "rb") as output:
        assert output.read() == os.fsencode(value)
    assert child.wait() == 0
