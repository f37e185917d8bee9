"""Stop a command that has the payload below it, in one of the ways that runners have, and observe the result."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

import psutil
from tests.support.isolation import processes_of

from gracefulexitcmd import Cmd

if TYPE_CHECKING:
    from collections.abc import Sequence

PAYLOAD = (sys.executable, str(Path(__file__).parent / "programs" / "payload.py"))
READY = 60.0
"""Seconds until the payload must have started; tools such as cargo build first."""
GRACE = 20.0
"""Seconds that a stopped command has."""
SETTLED = 0.7
"""Seconds after which everything that a signal sets off has happened."""

STOPS = {
    "product": None,
    "first leader": ((signal.SIGTERM, GRACE / 2, "leader"), (signal.SIGTERM, GRACE / 2, "all")),
    "interrupt": ((signal.SIGINT, GRACE, "all"),),
    "hang up": ((signal.SIGHUP, GRACE, "all"),),
}
"""The product's default, and the ways that a function can choose by `stop`."""


class Seen(NamedTuple):
    """The result of a stop: the exit status (None: it still ran), the payload's signals, and how that ended."""

    status: int | None
    signals: tuple[str, ...]
    cleaned: bool
    lives: bool
    seconds: float

    @property
    def received(self) -> int:
        """How many signals the payload received."""
        return len(self.signals)


def stopped(command: Sequence[str | Path], how: str, log: Path, *, cwd: Path | None = None, **env: str) -> Seen:
    """Start the command, wait for the payload in it, stop it by `leader`, `group` or one of STOPS; end what is left."""
    environment = {**os.environ, "PAYLOAD_LOG": str(log), **env}
    argv = [str(part) for part in command]
    try:
        if how in STOPS:
            status, seconds = _by_product(argv, how, log, cwd, environment)
        else:
            status, seconds = _by_signal(argv, how, log, cwd, environment)
        time.sleep(SETTLED)
        ready, *lines = log.read_text().splitlines()
        signals = tuple(line for line in lines if line.startswith("SIG"))
        return Seen(status, signals, "cleaned up" in lines, _lives(int(ready.split()[1])), seconds)
    finally:
        end_all()


def end_all() -> None:
    """Kill all processes that the test has left: some rows are about tools that orphan their program."""
    for process in processes_of(os.environ["TMPDIR"]):
        with contextlib.suppress(psutil.Error):
            process.kill()


def until_ready(log: Path) -> None:
    """Wait until the payload has started."""
    deadline = time.monotonic() + READY
    while not (log.exists() and log.read_text().startswith("ready")):
        assert time.monotonic() < deadline, "the payload did not start"
        time.sleep(0.02)


def _by_product(
    argv: list[str], how: str, log: Path, cwd: Path | None, env: dict[str, str]
) -> tuple[int | None, float]:
    stop = STOPS[how]
    command = Cmd(argv, cwd=cwd, env=env, grace=GRACE, stop=stop, stdin=subprocess.DEVNULL)
    thread = Thread(target=command.run)
    thread.start()
    until_ready(log)
    begun = time.monotonic()
    command.cancel()
    thread.join()
    assert command.exit is not None
    return command.exit.returncode, time.monotonic() - begun


def _by_signal(argv: list[str], how: str, log: Path, cwd: Path | None, env: dict[str, str]) -> tuple[int | None, float]:
    process = subprocess.Popen(argv, cwd=cwd, env=env, process_group=0, stdin=subprocess.DEVNULL)
    until_ready(log)
    begun = time.monotonic()
    (os.killpg if how == "group" else os.kill)(process.pid, signal.SIGTERM)
    try:
        status: int | None = process.wait(GRACE)
    except subprocess.TimeoutExpired:
        status = None
    seconds = time.monotonic() - begun
    if status is None:
        process.kill()
        process.wait()
    return status, seconds


def _lives(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
