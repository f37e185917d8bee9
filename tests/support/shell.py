"""A shell with job control on its own terminal."""

from __future__ import annotations

import os
import pty
import re
import signal
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pathlib import Path

PROMPT = b"PROMPT> "


class Shell:
    """Bash on a pseudo-terminal that tests write to and read from; the foreground processes get Ctrl-C and Ctrl-Z."""

    def __init__(self, directory: Path) -> None:
        self.written = b""
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            os.environ["TERM"] = "dumb"
            os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"])
        self.type("PS1='PROMPT''> '\n")  # the echo of this line does not hold the prompt
        self.read_until(PROMPT)

    def type(self, keys: str) -> None:
        """Type keys; `\\x1a` is Ctrl-Z."""
        os.write(self._terminal, keys.encode())

    def read_until(self, pattern: bytes) -> bytes:
        """Read until the output since the last call matches a pattern; return that output."""
        while not (found := re.search(pattern, self.written, re.DOTALL)):
            self.written += os.read(self._terminal, 1 << 16)
        read, self.written = self.written[: found.end()], self.written[found.end() :]
        return read

    def start(self, *words: str) -> None:
        """Start a command in the foreground, and wait until it has written `ready`."""
        self.type(" ".join(f"'{word}'" for word in words) + "\n")
        self.read_until(rb"\nready\r\n")

    def suspend(self) -> list[psutil.Process]:
        """Press Ctrl-Z, and wait until the shell reports the stop; return the descendants of the shell."""
        self.type("\x1a")
        self.read_until(rb"Stopped .*" + PROMPT)
        return self.processes()

    def processes(self) -> list[psutil.Process]:
        """Return the descendants of the shell."""
        return psutil.Process(self.pid).children(recursive=True)

    def hang_up(self) -> None:
        """Close the terminal."""
        os.close(self._terminal)
        self._terminal = -1

    def close(self) -> None:
        """Kill and reap the shell."""
        if self._terminal >= 0:
            self.hang_up()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
