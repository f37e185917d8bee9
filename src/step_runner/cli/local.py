"""The common part of `run` and `ci`: runs a function in this process, shows its output and its result."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from gracefulexitcmd import clock
from step_runner import shown
from step_runner.cli import records
from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from step_runner.cli.records import Records
    from step_runner.jobs.local import LocalResult, LocalRun

STDOUT, STDERR = 1, 2

LONGEST_OUTPUT = 1000
"""Characters of an output's value that are shown."""


def execute(run: LocalRun, wanted: Records, *, tty: bool = True, shows_outputs: bool = False) -> int:
    """Run a function, show its output, write the records. Return the exit status of this program.

    Without `tty` treat a terminal as a pipe. With `shows_outputs` show the outputs of the called function. SIGINT,
    SIGTERM and SIGHUP stop the function gracefully. Raise StepRunnerError if it cannot be started.
    """
    with asyncio.Runner(loop_factory=None if sys.platform == "win32" else _Loop) as runner:
        # Runner.run would set a handler of SIGINT, which signal.signal turns into a long text when ours replaces it.
        result = runner.get_loop().run_until_complete(_run(run, tty=tty, shows_outputs=shows_outputs))
    records.write(wanted, result)
    return result.exit_status


class _Loop(asyncio.SelectorEventLoop):
    """A loop with timers that stop while the job is suspended."""

    def time(self) -> float:
        return clock.now()


def readers() -> tuple[int, ...]:
    """Return the outputs whose reader can go away. That of a terminal also sends SIGHUP."""
    return tuple(output for output in (STDOUT, STDERR) if not os.isatty(output))


def current_directory() -> str:
    """Return the directory in which the command was started. Raise StepRunnerError if it was removed."""
    try:
        return os.getcwd()
    except OSError as error:
        raise StepRunnerError("the current directory was removed; go to another one") from error


async def _run(run: LocalRun, *, tty: bool, shows_outputs: bool) -> LocalResult:
    from step_runner.cli.screen import screen
    from step_runner.jobs.local import run_here

    display = screen(tty=tty)
    try:
        result = await run_here(run, display, display)
        for line in _outputs(result) if shows_outputs else ():
            display.notice(line)
        if result.status.message:
            display.notice(f"Error: {result.status.message}")
        return result
    finally:
        display.end()
        await display.written()


def _outputs(result: LocalResult) -> Iterator[str]:
    """Yield the outputs of the called function, each as a line with its secrets masked."""
    called = result.result.sub_results if result.result is not None else ()
    outputs = called[0].outputs if called else {}
    if not outputs:
        return
    import json

    from step_runner.runner.masks import masked

    for name, value in outputs.items():
        text = result.masks.hidden(json.dumps(masked(value), ensure_ascii=False))
        yield shown.name(f"Output {name}={shown.shortened(text, LONGEST_OUTPUT)}")
