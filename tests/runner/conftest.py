"""A job without a server: functions run directly, in directories of the test's own."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gracefulexitcmd import ManualContainer
from step_runner.errors import message
from step_runner.functions.loader import load_function
from step_runner.jobs.resolver import resolve
from step_runner.proc import Proc
from step_runner.runner.context import GlobalContext, Listener, Streams
from step_runner.runner.sequence import Outcome, run_root

if sys.platform != "win32":  # only test_script.py runs there
    from gracefulexitcmd.posix.output import move
    from step_runner.jobs.pipes import Pipes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gracefulexitcmd import Exit


class Workshop(Listener):
    """The surroundings of a job: a work dir with functions, an environment, variables, a log and a listener.

    It is its own sink and listener: `started` and `stopped` hold the reported events.
    """

    def __init__(self, temporary: str) -> None:
        self.work_dir = Path(temporary, "work")
        self.scratch = Path(temporary, "scratch")
        self.work_dir.mkdir()
        self.scratch.mkdir()
        self.log_file = Path(temporary, "log")
        self.descriptor = os.open(self.log_file, os.O_CREAT | os.O_RDWR)
        self.lost: OSError | None = None
        self._pipes = Pipes()
        self.proc = Proc(graceful_exit_delay=20)
        self.container = ManualContainer()
        self.started: list[tuple[str, ...]] = []
        self.stopped: list[tuple[tuple[str, ...], Exit]] = []

    def write(self, name: str, text: str) -> None:
        """Write a function into the directory `name` of the work dir."""
        path = self.work_dir / name / "step.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    async def run(self, text: str, *, env: dict[str, str] | None = None, **fields: Any) -> Outcome:
        """Run the function with this text as a job."""
        function, _ = load_function(text, file="steps", directory=str(self.work_dir))
        job = GlobalContext(
            proc=self.proc,
            container=self.container,
            work_dir=str(self.work_dir),
            env={"PATH": os.environ["PATH"], "TMPDIR": os.environ["TMPDIR"], **(env or {})},
            sink=self,
            listener=self,
            **{"variables": {}, "resolve": partial(resolve, self.proc), "scratch": str(self.scratch), **fields},
        )
        return await run_root(function, job)

    async def error(self, text: str, **fields: Any) -> str:
        """Return the message with which a job fails."""
        outcome = await self.run(text, **fields)
        assert outcome.error is not None
        return message(outcome.error)

    async def output(self, text: str, **fields: Any) -> list[str]:
        """Return the lines that the steps of a successful job write."""
        outcome = await self.run(text, **fields)
        assert outcome.error is None, message(outcome.error)
        return [line for line in self.log().splitlines() if not line.startswith("Running step name=")]

    def log(self) -> str:
        return self.log_file.read_text()

    def open(self) -> Streams:
        pipe = self._pipes.open(self)
        return Streams(pipe, pipe)

    async def settle(self) -> None:
        await self._pipes.settle()

    def take(self, source: int, most: int) -> int:
        return move(source, self.descriptor, most)

    def notice(self, line: str) -> None:
        self._pipes.drain()
        os.write(self.descriptor, f"{line}\n".encode())

    def end(self) -> None:
        self._pipes.close()

    def step_started(self, names: tuple[str, ...]) -> None:
        self.started.append(names)

    def step_stopping(self, names: tuple[str, ...], grace: float) -> None:
        """Do nothing: the log has this line already."""

    def step_stopped(self, names: tuple[str, ...], ended: Exit) -> None:
        self.stopped.append((names, ended))


@pytest.fixture
async def workshop(temporary: str) -> AsyncIterator[Workshop]:
    """Yield a workshop. Check at the end that no file of its steps remains."""
    made = Workshop(temporary)
    yield made
    made.end()
    os.close(made.descriptor)
    made.container.close()
    assert [name for name in os.listdir(made.scratch) if not name.startswith("script-")] == []
