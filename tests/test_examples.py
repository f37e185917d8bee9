"""Every example runs for real."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from step_runner import __version__
from step_runner.functions.check import check, check_text

ROOT = Path(__file__).parent.parent
COMMAND = (sys.executable, "-m", "step_runner")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


FILES = sorted(path for path in (ROOT / "examples").rglob("*.yml") if path.parent.name != "plugin")
"""All but the one that needs a package which is not installed here."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_example_files_have_no_problems_and_show_their_feature(path: Path) -> None:
    assert check([path]) == ()
    assert path.read_text().startswith("# ")


PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
FILES_OF_TUTORIAL = "tutorial.md"
"""Its step files call each other: tests/test_site.py runs them."""
BLOCKS = [
    (page.name, block)
    for page in PAGES
    if page.name != FILES_OF_TUTORIAL
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if block.startswith("- name:") or re.match(r"(#.*\n)*(spec:|\{\})", block)
]


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[f"{page}{number}" for number, (page, _) in enumerate(BLOCKS)])
def test_step_files_of_docs_have_no_problems(page: str, block: str) -> None:
    """`check` finds nothing to mend in them; only a package that is not installed here is unknown."""
    found = check_text(block, file=page, bare=block.startswith("- name:"))
    assert [problem for problem in found if "install the package of any other one" not in problem.message] == []


def test_hello_greets() -> None:
    ended = run("run", "examples/hello")
    assert ended.returncode == 0, ended.stderr
    assert "Hello, world!\n" in ended.stdout
    assert "The first step greeted 5 letters\n" in ended.stdout


@pytest.mark.skipif(not (ROOT / ".venv/bin/python").exists(), reason="needs what `make` installs")
def test_release_builds_wheel_of_this_repository() -> None:
    """The example builds the wheel of this repository, and writes its checksum."""
    ended = run("run", "examples/release")
    assert ended.returncode == 0, ended.stderr
    summary = dict(re.findall(r"^(\w+)  +(.+)$", ended.stdout, re.MULTILINE))
    wheel = Path(summary["wheel"])
    content = wheel.read_bytes()
    assert wheel.resolve().parent == ROOT / "dist"
    assert summary["version"] == __version__
    assert summary["size"] == f"{len(content)} bytes"
    assert summary["sha256"] == hashlib.sha256(content).hexdigest()
    with zipfile.ZipFile(wheel) as archive:
        modules = [name for name in archive.namelist() if name.endswith(".py")]
        lines = sum(archive.read(name).count(b"\n") for name in modules)
    assert summary["holds"] == f"{len(modules)} modules, {lines} lines"


def test_cleanup_restores_state_on_cancel(temporary: str) -> None:
    """The commands of the README: serve, start, cancel, and the log after that."""
    path = os.path.join(temporary, "s.sock")
    with subprocess.Popen([*COMMAND, "serve", "--socket", path], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        server.stderr.readline()
        run("start", "examples/cleanup", "--id", "1", "--socket", path)
        state = _state_once_ready(path)
        assert state.is_dir()
        told = run("cancel", "1", "--wait", "--socket", path).stdout
        log = run("logs", "1", "--socket", path).stdout
        server.terminate()
    assert told.splitlines()[-1] == "no process had to be killed"
    assert f"stopping: removing {state}, this takes a moment\n" in log
    assert log.endswith(f"removed {state}\n")
    assert not state.exists()


def _state_once_ready(path: str) -> Path:
    """The directory that the example has made, when it says that it can be cancelled."""
    following = [*COMMAND, "logs", "1", "--follow", "--socket", path]
    with subprocess.Popen(following, stdout=subprocess.PIPE, text=True) as log:
        assert log.stdout is not None
        lines = iter(log.stdout.readline, "")
        made = next(line.split()[1] for line in lines if line.startswith("made "))
        assert next(lines) == "ready, cancel me\n"
        log.terminate()
    return Path(made)
