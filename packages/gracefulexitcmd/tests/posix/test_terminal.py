"""Commands and the controlling terminal: in its foreground, or stopped by it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.shell import PROMPT, Shell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    yield made
    for process in made.processes():
        process.kill()
    made.hang_up()
    os.kill(made.pid, 9)
    os.waitpid(made.pid, 0)


def run(shell: Shell, directory: Path, program: str) -> None:
    """Run a Python program in the shell's foreground."""
    (directory / "program.py").write_text(f"import gracefulexitcmd as g, os, sys\n{program}")
    shell.type(f"'{sys.executable}' program.py\n")


def test_foreground_command_uses_terminal_and_returns_it(shell: Shell, tmp_path: Path) -> None:
    """Its group is the terminal's foreground group until it ends; then this program can read."""
    run(
        shell,
        tmp_path,
        "ended = g.Cmd(['sh', '-c', 'echo asks; read -r line; echo \"got $line\"'], foreground=True).run()\n"
        "print(ended.cause, os.tcgetpgrp(0) == os.getpgrp(), input('own: '))\n",
    )
    shell.read_until(rb"\nasks\r\n")
    shell.type("word\n")
    shell.read_until(rb"\ngot word\r\nown: ")
    shell.type("next\n")
    shell.read_until(rb"\nexited True next\r\n")


def test_ctrl_c_reaches_only_foreground_command(shell: Shell, tmp_path: Path) -> None:
    """The terminal modes that a killed command has changed are restored."""
    run(
        shell,
        tmp_path,
        "import termios\n"
        "before = termios.tcgetattr(0)\n"
        "script = 'stty -echo -icanon; echo ready; exec sleep 1000'\n"
        "ended = g.Cmd(['sh', '-c', script], foreground=True).run()\n"
        "print(ended.reason, termios.tcgetattr(0) == before)\n",
    )
    shell.read_until(rb"ready\r\n")
    shell.type("\x03")
    shell.read_until(rb"signal SIGINT True\r\n")


def test_ctrl_z_stops_program_and_foreground_command(shell: Shell, tmp_path: Path) -> None:
    """The shell sees a stopped job; `fg` continues both, with the command in the foreground again."""
    run(
        shell,
        tmp_path,
        "ended = g.Cmd(['sh', '-c', 'echo ready; read -r line; echo \"got $line\"'], foreground=True).run()\n"
        "print(ended.reason)\n",
    )
    shell.read_until(rb"\nready\r\n")
    shell.type("\x1a")
    shell.read_until(rb"Stopped .*" + PROMPT)
    shell.type("fg\n")
    shell.read_until(rb"program.py\r\n")
    shell.type("word\n")
    shell.read_until(rb"got word\r\nexit status 0\r\n")


def test_ctrl_z_before_the_foreground_was_given_counts(shell: Shell, tmp_path: Path) -> None:
    """The command is continued then only if it was stopped because it used the terminal too early."""
    run(
        shell,
        tmp_path,
        "from gracefulexitcmd.posix import terminal\n"
        "real = terminal.foreground\n"
        "def late(opened, pid):\n"
        "    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)\n"
        "    return real(opened, pid)\n"
        "terminal.foreground = late\n"
        "ended = g.Cmd(['sh', '-c', 'kill -TSTP $$; echo continued'], foreground=True).run()\n"
        "print(ended.reason)\n",
    )
    shell.read_until(rb"Stopped .*" + PROMPT)
    shell.type("fg\n")
    shell.read_until(rb"continued\r\nexit status 0\r\n")


def test_command_stopped_by_terminal_is_reported(shell: Shell, tmp_path: Path) -> None:
    """It reads from the terminal itself in the background, as ssh(1) and sudo(8) do."""
    run(
        shell,
        tmp_path,
        "import logging, threading\n"
        "logging.basicConfig(format='logged %(name)s: %(message)s')\n"
        "command = g.Cmd(['sh', '-c', 'read -r line < /dev/tty'], grace=5)\n"
        "class Told(logging.Handler):\n"
        "    def emit(self, record): command.cancel()\n"
        "logging.getLogger('gracefulexitcmd').addHandler(Told())\n"
        "print(command.run().cause)\n",
    )
    shell.read_until(rb"logged gracefulexitcmd: sh \(pid \d+\) was stopped by SIGTTIN")
    shell.read_until(rb"\ncancelled\r\n")


def test_foreground_does_nothing_without_terminal(tmp_path: Path) -> None:
    """Daemons and CI jobs have no controlling terminal."""
    program = "import gracefulexitcmd as g; print(g.Cmd(['true'], foreground=True).run().reason)"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, start_new_session=True
    )
    assert (ended.stdout, ended.stderr) == ("exit status 0\n", "")
