"""A terminal shows a running function; every terminal here is a real one of the kernel."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import termios
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.images import HERE, archive, member
from tests.support.odd_registry import OddRegistry, send
from tests.support.steps import script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

LINE = re.compile(rb"\r\x1b\[K(?:(?:(?:Running|Stopping) work|Starting:)[^\r\n\x1b^]*)?(?:\^C)?")
"""The line as it is drawn or erased, with the echo of Ctrl-C that may follow it."""

TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Makes a terminal the controlling one of this session, then runs a command."""


class Console:
    """`step-runner run` in a session whose controlling terminal is a new one, with which we type and read."""

    def __init__(self, directory: Path, *arguments: str, columns: int = 80, **streams: Any) -> None:
        self.written = b""
        self._descriptor, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        attributes = termios.tcgetattr(inside)
        attributes[1] &= ~termios.OPOST  # line breaks stay as they are written
        termios.tcsetattr(inside, termios.TCSANOW, attributes)
        command = [sys.executable, "-m", "step_runner", "run", *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, str(inside), *command],
            cwd=directory,
            start_new_session=True,
            pass_fds=[inside],
            **{"stdin": inside, "stdout": inside, "stderr": inside, **streams},
        )
        os.close(inside)

    @property
    def output(self) -> bytes:
        """Return the output without the line."""
        return LINE.sub(b"", self.written)

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._descriptor, keys)

    def resize(self, rows: int, columns: int) -> None:
        """Change the size, and the kernel signals the foreground processes."""
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def modes(self) -> list[Any]:
        """The environment for the terminal."""
        return termios.tcgetattr(self._descriptor)

    def read_until(self, pattern: bytes) -> None:
        """Read until a pattern has been written."""
        while not re.search(pattern, self.written):
            assert self._read(), f"{pattern!r} is not in {self.written!r}"

    def finish(self) -> int:
        """Read until the terminal is closed on the other side; return the exit status."""
        while self._read():
            pass
        return self.process.wait()

    def close(self) -> None:
        """End the command if it still runs."""
        self.process.kill()
        self.process.wait()
        os.close(self._descriptor)

    def _read(self) -> bytes:
        try:
            chunk = os.read(self._descriptor, 1 << 16)
        except OSError:  # EIO: the last process that had the terminal open has ended
            return b""
        self.written += chunk
        return chunk


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Callable[..., Console]]:
    """Runs a function of one step, `work`, on a terminal."""
    with contextlib.ExitStack() as running:

        def run(text: str, *arguments: str, name: str = "s1", **options: Any) -> Console:
            (tmp_path / "work.yml").write_text(script(text).replace('"s1"', f'"{name}"'))
            console = Console(tmp_path, "work.yml", *arguments, **options)
            running.callback(console.close)
            return console

        yield run


RUNNING = b"Running step name=s1\n"


def test_output_reaches_terminal_unchanged(console: Callable[..., Console]) -> None:
    shown = console(r"printf 'one\ntwo\001\033[1mbold\n\377\n'; printf 'err\n' >&2; printf 'no line break'")
    assert shown.finish() == 0
    assert shown.output == RUNNING + b"one\ntwo\x01\x1b[1mbold\n\xff\nerr\nno line break"


def test_line_shows_step_and_seconds_and_is_erased_at_end(console: Callable[..., Console], tmp_path: Path) -> None:
    """The status line names the running step; it is gone at the end of the run."""
    os.mkfifo(tmp_path / "fifo")
    shown = console("echo ready; read x < fifo; echo done")
    shown.read_until(rb"Running work > s1: 0 s")
    shown.read_until(rb"Running work > s1: [1-9]\d* s")
    (tmp_path / "fifo").write_text("\n")
    assert shown.finish() == 0
    assert shown.output == RUNNING + b"ready\ndone\n"
    assert shown.written.endswith(b"\r\x1b[K")


def test_unfinished_line_of_output_is_not_overwritten(console: Callable[..., Console], tmp_path: Path) -> None:
    """While the output has an unfinished line, no status line is drawn into it."""
    os.mkfifo(tmp_path / "fifo")
    shown = console("printf 'Name: '; read x < fifo; echo $x")
    shown.read_until(b"Name: ")
    (tmp_path / "fifo").write_text("Ada\n")
    assert shown.finish() == 0
    assert b"Name: Ada\n" in shown.written


def test_redirected_output_does_not_touch_terminal(console: Callable[..., Console], tmp_path: Path) -> None:
    """The terminal shows the status line alone when the output goes elsewhere."""
    with open(tmp_path / "out", "wb") as out:
        shown = console("echo out; echo err >&2", stdout=out)
        assert shown.finish() == 0
    assert (tmp_path / "out").read_bytes() == b"out\n"
    assert shown.output == RUNNING + b"err\n"


def test_stderr_without_terminal_gets_no_line(console: Callable[..., Console], tmp_path: Path) -> None:
    with open(tmp_path / "err", "wb") as err:
        shown = console("echo out; echo err >&2", stderr=err)
        assert shown.finish() == 0
    assert (tmp_path / "err").read_bytes() == RUNNING + b"err\n"
    assert shown.written == b"out\n"


def test_run_without_terminal_prints_only_output(console: Callable[..., Console], tmp_path: Path) -> None:
    with open(tmp_path / "both", "wb") as both:
        shown = console("echo out; echo err >&2", stdout=both, stderr=both)
        assert shown.finish() == 0
    assert (tmp_path / "both").read_bytes() == RUNNING + b"out\nerr\n"
    assert shown.written == b""


def test_dumb_terminal_gets_no_line(console: Callable[..., Console], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    shown = console("echo out")
    assert shown.finish() == 0
    assert shown.written == RUNNING + b"out\n"


# One process, which never blocks: a signal that comes just before a call would be acted on only after it.
OBEYS = "trap 'echo cleaning; exit 0' TERM; echo ready; while :; do :; done"
IGNORES = "trap 'echo ignored' TERM; echo ready; while :; do :; done"


def test_ctrl_c_stops_step_gracefully(console: Callable[..., Console]) -> None:
    shown = console(OBEYS)
    shown.read_until(rb"ready\n")
    shown.type(b"\x03")
    assert shown.finish() == 130
    assert re.search(rb"Stopping work > s1: [123]\d s left", shown.written)
    assert re.search(rb'\nStopping step "s1": SIGTERM to 1 process, [123]\d(\.\d)? s to finish\n', shown.output)
    assert b"\ncleaning\n" in shown.output
    assert shown.output.endswith(b"stopped on request\n")


def test_line_counts_down_and_second_ctrl_c_kills(
    console: Callable[..., Console],
) -> None:
    """After Ctrl-C the line shows the seconds left; a second Ctrl-C kills at once."""
    shown = console(IGNORES)
    shown.read_until(rb"ready\n")
    shown.type(b"\x03")
    shown.read_until(rb"ignored\n")
    assert b"Ctrl-C again" not in shown.written
    shown.read_until(rb"Stopping work > s1: [12]\d s left, Ctrl-C again kills at once")
    shown.type(b"\x03")
    assert shown.finish() == 130
    assert b"\nKilled at once: second Ctrl-C\n" in shown.output
    assert re.search(rb"Ended 1 process that handled SIGTERM, but had not finished: \w+ \(pid \d+\)\n", shown.output)


def test_ctrl_c_stops_step_that_writes_without_end(console: Callable[..., Console]) -> None:
    shown = console("echo ready; exec yes")
    shown.read_until(rb"y\ny\n")
    shown.type(b"\x03")
    assert shown.finish() == 130


def test_huge_output_arrives_whole(console: Callable[..., Console]) -> None:
    shown = console("seq 200000; echo end")
    assert shown.finish() == 0
    assert shown.output == RUNNING + b"".join(b"%d\n" % number for number in range(1, 200001)) + b"end\n"


@pytest.mark.parametrize("columns", [1, 10])
def test_narrow_terminal_cuts_line(console: Callable[..., Console], tmp_path: Path, columns: int) -> None:
    """A line that reaches the last column could not be erased as a whole."""
    os.mkfifo(tmp_path / "fifo")
    shown = console("echo ready; read x < fifo", columns=columns)
    whole = b"Running work > s1: 0 s"
    shown.read_until(re.escape(b"ready\n\r\x1b[K" + whole[: columns - 1]))
    (tmp_path / "fifo").write_text("\n")
    assert shown.finish() == 0
    drawn = re.findall(rb"\r\x1b\[K((?:Starting|Running work)[^\r\n]*)", shown.written)
    assert all(len(line) < columns for line in drawn)


def test_terminal_without_size_counts_as_80_columns(console: Callable[..., Console], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    shown = console("read x < fifo", columns=0)
    shown.read_until(rb"Running work > s1: 0 s")
    (tmp_path / "fifo").write_text("\n")
    assert shown.finish() == 0


def test_background_process_holding_output_does_not_delay_end(console: Callable[..., Console], tmp_path: Path) -> None:
    """A run ends although a background process of a step holds the output open."""
    os.mkfifo(tmp_path / "fifo")
    held_open = os.open(tmp_path / "fifo", os.O_RDWR)
    shown = console("read x < fifo & echo started")
    assert shown.process.wait(timeout=20) == 0
    os.write(held_open, b"\n")
    os.close(held_open)
    shown.finish()
    assert shown.output.startswith(RUNNING + b"started\n")


def test_background_process_writing_endlessly_does_not_delay_end(
    console: Callable[..., Console],
) -> None:
    """It gets SIGPIPE when the runner has closed its reader."""
    shown = console("yes & echo $!")
    assert shown.finish() == 0


def test_names_cannot_control_terminal(console: Callable[..., Console], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    item = 'func: ./work.yml\nname: "a\\e[2Jb"'
    (tmp_path / "work.yml").write_text(script("read x < fifo"))
    shown = Console(tmp_path, item)
    try:
        shown.read_until(rb"Running a\?\[2Jb > s1: 0 s")
        (tmp_path / "fifo").write_text("\n")
        assert shown.finish() == 0
    finally:
        shown.close()


@pytest.fixture
def silent_registry() -> Iterator[str]:
    """The address of one that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        yield f"{host}:{port}"


@pytest.mark.parametrize("kind", ["git", "oci"])
def test_line_shows_fetch_until_ctrl_c_ends_it(tmp_path: Path, silent_registry: str, kind: str) -> None:
    git = f"func: {{git: {{url: 'http://{silent_registry}/group/x', rev: v1}}}}"
    shown = Console(tmp_path, git if kind == "git" else f"{silent_registry}/group/x:1")
    fetched = f"http://{silent_registry}/group/x: looking up v1" if kind == "git" else f"{silent_registry}/group/x:1"
    try:
        shown.read_until(rb"\r\x1b\[KFetching " + re.escape(fetched.encode()))
        shown.type(b"\x03")
        assert shown.finish() == 130
        assert re.search(rb"Stopping: [123]\d s left", shown.written)
    finally:
        shown.close()


@pytest.fixture
def slow_registry() -> Iterator[tuple[OddRegistry, threading.Event]]:
    """One that sends the first half of every blob at once, and the other when the event is set."""
    registry, go_on = OddRegistry(), threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> bool:
        if "/blobs/" not in request.path:
            return False
        content = registry.content(request.path)
        send(request, 200, content[: len(content) // 2], {"Content-Length": str(len(content))})
        go_on.wait()
        request.wfile.write(content[len(content) // 2 :])
        return True

    registry.answer = answer
    yield registry, go_on
    go_on.set()
    registry.close()


def test_line_counts_bytes_of_image_then_shows_its_step(
    tmp_path: Path, slow_registry: tuple[OddRegistry, threading.Event]
) -> None:
    """While an image is fetched, the line counts its bytes; afterwards it names the step."""
    registry, go_on = slow_registry
    os.mkfifo(tmp_path / "fifo")
    function = script(f"read x < {tmp_path / 'fifo'}")
    layer = archive(member("func.yml", function.encode()), member("large", os.urandom(4_000_000)))
    registry.offer("group/x", "1", {HERE: [layer]})
    shown = Console(tmp_path, f"{registry.host}/group/x:1")
    try:
        shown.read_until(rb"Fetching \S+/group/x:1: [12]\.\d of 4\.\d MB")
        go_on.set()
        shown.read_until(rb"\r\x1b\[KRunning x > s1: 0 s")
        (tmp_path / "fifo").write_text("\n")
        assert shown.finish() == 0
    finally:
        shown.close()
