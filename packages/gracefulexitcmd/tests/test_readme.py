"""README.md is true: each of its programs runs, and the table shows the results of a real comparison."""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

if sys.platform == "win32":
    pytest.skip("the programs are those of POSIX", allow_module_level=True)

FOLDER = Path(__file__).parents[1]
README = (FOLDER / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

SAID = (
    "a\nb\n\nsh -c 'echo no such host >&2; exit 2': exit status 2\n  no such host\n",
    "one\ntwo\n",
    "select 1;\n\n",
    "it is still running\n",
    # Between fork(2) and execve(2) a process has the arguments of its parent.
    ("3 ['sleep 1000']\n(EndedProcess(", "3 [\"sh -c 'sleep 1000 & exit 3'\"]\n(EndedProcess("),
    "one\ntwo\n",
    "",
    "b file; with blbnks\n\n",
)


@pytest.mark.parametrize(("program", "said"), list(zip(PROGRAMS, SAID, strict=True)), ids=range(len(SAID)))
def test_programs_of_readme_run(program: str, said: str | tuple[str, str], tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert ended.stderr == ""
    assert ended.stdout.startswith(said)


def test_programs_of_readme_shadow_no_builtin() -> None:
    stored = {
        node.id
        for program in PROGRAMS
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    assert "ended" in stored
    assert stored & set(dir(builtins)) == set()


def reap_left_processes() -> None:
    """End the processes that the other libraries leave.

    If this process is a subreaper, they have become its children.
    """
    for child in psutil.Process().children(recursive=True):
        if child.name() == "sleep":
            child.kill()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, 0)


@pytest.mark.parametrize("name", ["gracefulexitcmd", "subprocess", "asyncio", "anyio", "psutil"])
def test_column_of_table_matches_measurement(name: str) -> None:
    """execa is compared by hand: comparison.py prints the whole table."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    program = "import comparison, json, sys; print(comparison.table(sys.argv[1:]))"
    ended = subprocess.run(
        [sys.executable, "-c", program, name], cwd=FOLDER, capture_output=True, text=True, check=True, timeout=50
    )
    reap_left_processes()
    tried = {row[1].strip(): row[2].strip() for line in ended.stdout.splitlines()[2:] if (row := line.split("|"))}
    table = [line.split("|") for line in README.splitlines() if line.startswith("|")]
    heads = next(line for line in table if line[2].strip() == "gracefulexitcmd")
    column = [head.strip() for head in heads].index(name)
    assert tried == {line[1].strip(): line[column].strip() for line in table if line[1].strip() in tried}
    assert len(tried) == 5
