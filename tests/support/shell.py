"""A shell with job control on a terminal of its own."""

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
    """Bash, with whose terminal we type and read; what it runs in the foreground gets Ctrl-C and Ctrl-Z."""

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
        """Press keys; `\\x1a` is Ctrl-Z."""
        os.write(self._terminal, keys.encode())

    def read_until(self, pattern: bytes) -> bytes:
        """Read until a pattern has been written since the last call; returns what was written."""
        while not (found := re.search(pattern, self.written, re.DOTALL)):
            self.written += os.read(self._terminal, 1 << 16)
        read, self.written = self.written[: found.end()], self.written[found.end() :]
        return read

    def start(self, *words: str) -> None:
        """Run a command in the foreground, until it has written `ready`."""
        self.type(" ".join(f"'{word}'" for word in words) + "\n")
        self.read_until(rb"\nready\r\n")

    def suspend(self) -> list[psutil.Process]:
        """Press Ctrl-Z, and wait until the shell says that it is stopped; returns all that the shell has started."""
        self.type("\x1a")
        self.read_until(rb"Stopped .*" + PROMPT)
        return self.processes()

    def processes(self) -> list[psutil.Process]:
        """Return all that the shell has started."""
        return psutil.Process(self.pid).children(recursive=True)

    def hang_up(self) -> None:
        """Close the terminal."""
        os.close(self._terminal)
        self._terminal = -1

    def close(self) -> None:
        """End the shell."""
        if self._terminal >= 0:
            self.hang_up()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
