"""On a terminal each step of `run` has a pseudo-terminal of its own, real ones of the kernel all of them."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import pytest
from tests.cli.test_screen import Console
from tests.support.steps import script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the terminals are those of Linux")


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Callable[..., Console]]:
    """Runs steps on a terminal of 24 lines of 100 characters."""
    with contextlib.ExitStack() as running:

        def run(*texts: str, options: tuple[str, ...] = ()) -> Console:
            (tmp_path / "work.yml").write_text(script(*texts))
            console = Console(tmp_path, "work.yml", *options, columns=100)
            running.callback(console.close)
            return console

        yield run


def lines(console: Console) -> list[bytes]:
    """Return the output of the steps, after the command has ended with status 0."""
    assert console.finish() == 0, console.written
    return [line for line in console.output.splitlines() if not line.startswith(b"Running step")]


def test_terminal_of_a_step_is_its_stdout_and_stderr(shown: Callable[..., Console]) -> None:
    """It has our size, and changes no byte; stdin is none."""
    listing = "for i in 0 1 2; do test -t $i && echo $i; done; stty size <&1; stty -a <&2 | grep -o -e -opost"
    assert lines(shown(listing)) == [b"1", b"2", b"24 100", b"-opost"]


def test_terminal_of_a_step_allows_tools_to_set_modes(shown: Callable[..., Console]) -> None:
    """It controls no session, so no process gets SIGTTOU; no mode reaches the next step, or our own terminal."""
    console = shown("stty raw -echo <&1; echo set", "stty -a <&2 | grep -o -e ' icanon' -e ' echo '")
    before = console.modes()
    assert lines(console) == [b"set", b" icanon", b" echo "]
    assert console.modes() == before


def test_terminal_of_a_step_follows_our_size(shown: Callable[..., Console]) -> None:
    """SIGWINCH is passed on to the step when its terminal has the new size."""
    console = shown("trap 'stty size <&1; exit' WINCH; echo ready; while :; do :; done")
    console.read_until(rb"ready\n")
    console.resize(30, 120)
    assert lines(console) == [b"ready", b"30 120"]


def test_terminal_of_a_step_loses_nothing(shown: Callable[..., Console]) -> None:
    """A hundred steps print and exit at once, some from the background: all of it comes before the next one's line."""
    texts = ["echo first; (sleep 0.001; echo last) & wait"] * 100
    console = shown(*texts)
    assert console.finish() == 0
    parts = console.output.split(b"Running step name=")[1:]
    assert [part.partition(b"\n")[2] for part in parts] == [b"first\nlast\n"] * 100


def test_terminal_of_a_step_takes_much_output(shown: Callable[..., Console]) -> None:
    """It comes in order and whole, with no line drawn into it."""
    assert lines(shown("seq 20000")) == [b"%d" % number for number in range(1, 20_001)]


def test_terminal_of_ended_step_serves_its_background(shown: Callable[..., Console], tmp_path: Path) -> None:
    """Its later output arrives, and keeps no step from its end."""
    os.mkfifo(tmp_path / "gate")
    console = shown("(read x < gate; echo printed; echo > gate) &", "echo > gate; read x < gate")
    first, *_ = lines(console)  # a process that still prints at the end is named after the lines
    assert first == b"printed"


def test_no_tty_gives_steps_pipes_and_draws_nothing(shown: Callable[..., Console]) -> None:
    """The output is that of a run without a terminal."""
    console = shown("test -t 1 || echo pipe; test -t 2 || echo pipe >&2", options=("--no-tty",))
    assert console.finish() == 0
    assert console.written == b"Running step name=s1\npipe\npipe\n"


def test_no_color_reaches_the_step(shown: Callable[..., Console], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools see it, and our own lines have no colours."""
    monkeypatch.setenv("NO_COLOR", "1")
    console = shown('echo "NO_COLOR=$NO_COLOR"')
    assert lines(console) == [b"NO_COLOR=1"]
    assert b"m" not in {part[:1] for part in console.written.split(b"\x1b[")[1:]}
