"""Tries each row of the table in README.md with this library and with others; prints the table.

    python comparison.py

anyio and psutil are tried where they are installed, execa where it is in `node_modules` of the current directory,
process-wrap where comparison.rs was built there.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gracefulexitcmd import run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TIMEOUT = 1.0
"""Seconds after which a command that does not end is to be stopped."""

NEVER = 10.0
"""Seconds after which a library is taken to wait in vain."""

LASTS = """\
trap 'echo >cleaned; exit 0' TERM
sh -c 'echo $$ >child; exec sleep 100' &
(setsid sh -c 'echo $$ >detached; exec sleep 100' &)
while :; do sleep 0.05; done
"""

ENDS = "(setsid sh -c 'echo $$ >left; exec sleep 100' &); until test -s left; do :; done; exit 3"


class Row(NamedTuple):
    """One line of the table, with a script and the check of its result."""

    text: str
    script: str
    holds: Callable[[Path, int | None], bool]


def gone(name: str) -> Callable[[Path, int | None], bool]:
    """Return a check that the process whose number a file holds has ended."""
    return lambda directory, _: not lives(int((directory / name).read_text()))


ROWS = (
    Row("A timeout lets the command clean up", LASTS, lambda directory, _: (directory / "cleaned").exists()),
    Row("A timeout ends child processes", LASTS, gone("child")),
    Row("... and a process that has left its session and its parent", LASTS, gone("detached")),
    Row("The status is known even if a background process holds the output", ENDS, lambda _, status: status == 3),
    Row("Background processes end with the command", ENDS, gone("left")),
)


def lives(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def by_gracefulexitcmd(argv: Sequence[str]) -> int | None:
    return run(argv, timeout=TIMEOUT, grace=0.5, contain=True).returncode


def by_subprocess(argv: Sequence[str]) -> int | None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run(argv, capture_output=True, timeout=TIMEOUT).returncode
    return None


def by_asyncio(argv: Sequence[str]) -> int | None:
    async def collect() -> int | None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*argv, stdout=pipe, stderr=pipe)
        try:
            await asyncio.wait_for(process.communicate(), TIMEOUT)
        except TimeoutError:  # nothing was stopped: the program has to do that
            process.terminate() if process.returncode is None else None
            await process.wait()
            return None
        return process.returncode

    return asyncio.run(collect())


def by_anyio(argv: Sequence[str]) -> int | None:
    import anyio  # type: ignore[import-not-found,unused-ignore]

    async def collect() -> int | None:
        with anyio.move_on_after(TIMEOUT):
            return (await anyio.run_process(argv, check=False)).returncode  # type: ignore[no-any-return,unused-ignore]
        return None

    return anyio.run(collect)  # type: ignore[no-any-return,unused-ignore]


def by_psutil(argv: Sequence[str]) -> int | None:
    """Run it as its documentation ends a process with its children: terminate, wait, kill."""
    import psutil

    process = psutil.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        all_of_it = [process, *process.children(recursive=True)] if process.poll() is None else []
        for each in all_of_it:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.terminate()
        for each in psutil.wait_procs(all_of_it, timeout=0.5)[1]:
            each.kill()
        for pipe in (process.stdout, process.stderr):
            pipe.close()
        return None
    status: int = process.returncode
    return status


EXECA = """\
import { execa } from "execa";
const options = { timeout: 1000, forceKillAfterDelay: 500, reject: false };
const ended = await execa(process.argv[2], process.argv.slice(3), options);
console.log(JSON.stringify(ended.timedOut ? null : ended.exitCode ?? null));
process.exit();
"""


def by_execa(argv: Sequence[str]) -> int | None:
    """Run it by a program for Node that lies beside the modules."""
    program = Path("comparison.mjs")
    program.write_text(EXECA)
    with subprocess.Popen(["node", str(program), *argv], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        status: int | None = json.loads(process.stdout.readline())
    program.unlink()
    return status


BUILT = Path("target", "release", "comparison")
"""What cargo makes of comparison.rs."""


def by_process_wrap(argv: Sequence[str]) -> int | None:
    """Run it by the program that was built in the current directory."""
    with subprocess.Popen([BUILT, *argv], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        status: int | None = json.loads(process.stdout.readline())
    return status


WAYS: dict[str, Callable[[Sequence[str]], int | None]] = {
    "gracefulexitcmd": by_gracefulexitcmd,
    "subprocess": by_subprocess,
    "asyncio": by_asyncio,
    "anyio": by_anyio,
    "psutil": by_psutil,
    "process-wrap": by_process_wrap,
    "execa": by_execa,
}


def here() -> list[str]:
    """The names of the libraries that can be tried here."""
    others = {
        "execa": Path("node_modules", "execa").is_dir() and shutil.which("node") is not None,
        "process-wrap": BUILT.exists(),
    }
    return [name for name in WAYS if (others[name] if name in others else importlib.util.find_spec(name) is not None)]


def status(name: str, script: str) -> int | None:
    """The status that a library gives for a script; None where it gives none, or never returns."""
    program = [sys.executable, __file__, "--try", name, script]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            written, _ = process.communicate(timeout=NEVER)
        except subprocess.TimeoutExpired:
            process.kill()
            return None
    found: int | None = json.loads(written)
    return found


def tried(name: str) -> list[bool]:
    """Whether each row holds for one library; what is left over is killed."""
    held: list[bool] = []
    for script in (LASTS, ENDS):
        with tempfile.TemporaryDirectory() as directory:
            ended = status(name, f"cd '{directory}'; {script}")
            held += [row.holds(Path(directory), ended) for row in ROWS if row.script is script]
            for file in ("child", "detached", "left"):
                with contextlib.suppress(OSError):
                    os.kill(int(Path(directory, file).read_text()), signal.SIGKILL)
    return held


def table(names: Sequence[str]) -> str:
    """Return the table, in Markdown."""
    results = [tried(name) for name in names]
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for row, held in zip(ROWS, zip(*results, strict=True), strict=True):
        lines.append(f"| {row.text} | " + " | ".join("yes" if one else "no" for one in held) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, or try one library in this process, as `status` has it."""
    if sys.argv[1:2] == ["--try"]:
        print(json.dumps(WAYS[sys.argv[2]](["sh", "-c", sys.argv[3]])), flush=True)
        os._exit(0)  # some wait for their pipes here, in vain
    print(table(here()))


if __name__ == "__main__":
    main()
