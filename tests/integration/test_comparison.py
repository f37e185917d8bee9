"""The rows of README's comparison: each tool runs the same commands and is stopped or killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import psutil
import pytest
from tests.integration.conftest import ROOT
from tests.support.absent import absent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the table is about Linux")

POLITE = """\
trap 'echo >cleaned; exit 0' TERM
(setsid sh -c 'echo $$ >detached; exec sleep 100' &)
until test -s detached; do sleep 0.01; done
echo $$ >leader
while :; do sleep 0.05; done
"""

DEAF = "trap '' TERM; echo $$ >leader; while :; do sleep 0.05; done"

LIBRARIES = {
    "`subprocess.run(timeout=)`": """
import contextlib, subprocess, sys
with contextlib.suppress(subprocess.TimeoutExpired):
    subprocess.run(sys.argv[2:], timeout=float(sys.argv[1]))
""",
    "asyncio, with `terminate()`": """
import asyncio, sys
async def main():
    process = await asyncio.create_subprocess_exec(*sys.argv[2:])
    try:
        await asyncio.wait_for(process.wait(), float(sys.argv[1]))
    except TimeoutError:
        process.terminate()
        await process.wait()
asyncio.run(main())
""",
    "psutil, its recipe": """
import psutil, sys
process = psutil.Popen(sys.argv[2:])
try:
    process.wait(float(sys.argv[1]))
except psutil.TimeoutExpired:
    tree = [process, *process.children(recursive=True)]
    for each in tree:
        each.terminate()
    for each in psutil.wait_procs(tree, timeout=0.5)[1]:
        each.kill()
    process.wait()
""",
}
"""Programs that take a timeout and a command; each stops the command as the library's documentation shows."""

OURS = (sys.executable, "-m")
SCRIPT = "job.yml"

TOOLS: dict[str, tuple[str, ...]] = {
    "**step-runner**": (*OURS, "step_runner", "run", SCRIPT, "--graceful-exit-delay", "500ms"),
    "**gracefulexitcmd**": (*OURS, "gracefulexitcmd", "--grace", "500ms", "--", "sh", SCRIPT),
    "`timeout -k`": ("timeout", "-k", "0.5", "100", "sh", SCRIPT),
    "`tini -g`": ("tini", "-s", "-g", "--", "sh", SCRIPT),
    "`dumb-init`": ("dumb-init", "sh", SCRIPT),
}

GONE = ("killed", "ended", "all processes end")
LASTS = ("survives", "survives; `supervise` ends all")

PATIENCE = 0.7
"""Seconds after which a live process counts as a survivor: no tool here waits longer."""


class Cells(NamedTuple):
    """A row of the table."""

    time: str
    deaf: str
    detached: str
    killed: str


def table() -> dict[str, Cells]:
    """Return the rows of README's table by the name of the tool, without links."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|" + r" (.+?) \|" * 5 + "$", page, re.MULTILINE)
    plain = [[re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", cell) for cell in row] for row in rows]
    return {name: Cells(*cells) for name, *cells in plain}


def alive(number: Path) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(int(number.read_text())).status() != psutil.STATUS_ZOMBIE
    return False


def check(cell: str, *numbers: Path) -> None:
    """Wait for the end of the processes if the cell names one; else they run for PATIENCE seconds more."""
    if cell in GONE:
        while any(map(alive, numbers)):
            time.sleep(0.02)
        return
    assert cell in LASTS
    time.sleep(PATIENCE)
    assert any(map(alive, numbers))


@contextlib.contextmanager
def started(tool: str, script: str, directory: Path, limit: float = 100) -> Iterator[subprocess.Popen[bytes]]:
    """Start the tool, wait until its command is ready, and kill all processes at the end."""
    text = {"run": [{"name": "work", "script": script}]}
    (directory / SCRIPT).write_text("{}\n---\n" + json.dumps(text) if tool == "**step-runner**" else script)
    argv = TOOLS.get(tool) or (sys.executable, "-c", LIBRARIES[tool], str(limit), "sh", SCRIPT)
    if shutil.which(argv[0]) is None:
        absent(argv[0])
    process = subprocess.Popen(argv, cwd=directory, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        while not (directory / "leader").exists() or not (directory / "leader").read_text().endswith("\n"):
            assert process.poll() is None or tool in LIBRARIES
            if process.poll() is not None:
                break
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        for name in ("leader", "detached"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((directory / name).read_text()), signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def stopped(tool: str, script: str, directory: Path) -> Iterator[None]:
    """Start the tool, and let it stop the command: by SIGTERM, or by the timeout of a library."""
    for limit in (1.0, 10.0, 50.0):
        with started(tool, script, directory, limit) as process:
            if not (directory / "leader").exists():  # a busy machine: the timeout expired too early
                continue
            if tool not in LIBRARIES:
                process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE + (limit if tool in LIBRARIES else 0.5))
            yield
            return
    pytest.fail("the command was never ready in time")


@pytest.mark.parametrize("tool", [*TOOLS, *LIBRARIES])
def test_row_of_comparison_matches_behaviour(tool: str, tmp_path: Path) -> None:
    """Its four cells are: time to clean up, a command that ignores SIGTERM, a detached process, a killed runner."""
    cells = table()[tool]
    polite, deaf, killed = (tmp_path / name for name in ("polite", "deaf", "killed"))
    for directory in (polite, deaf, killed):
        directory.mkdir()
    with stopped(tool, POLITE, polite):
        while cells.time != "none" and not (polite / "cleaned").exists():
            time.sleep(0.02)
        assert (polite / "cleaned").exists() is (cells.time != "none")
        check(cells.detached, polite / "detached")
    with stopped(tool, DEAF, deaf):
        check(cells.deaf, deaf / "leader")
    with started(tool, POLITE, killed) as process:
        process.kill()
        process.wait()
        check(cells.killed, killed / "leader", killed / "detached")


def test_every_row_is_tested_or_has_a_source() -> None:
    rows = {name: cells for name, cells in table().items() if set(name) - set("- ")}
    sourced = {name for name, cells in rows.items() if "¹" in "".join(cells)}
    assert rows.keys() - sourced == {*TOOLS, *LIBRARIES}
