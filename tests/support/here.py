"""Runs a command of the step runner to its end, in the current directory and environment."""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple


class Ended(NamedTuple):
    """The exit status and the output of a command."""

    status: int
    stdout: str
    stderr: str


def step_runner(*arguments: str) -> Ended:
    """Run a command of the step runner in its own process."""
    command = [sys.executable, "-m", "step_runner", *arguments]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return Ended(ended.returncode, ended.stdout, ended.stderr)
