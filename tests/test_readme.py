"""Each block of README.md runs as written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.absent import absent
from tools.terminal import picture, played, session, shown

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "README.md").read_text(encoding="utf-8")

VARYING = (
    (r"socket \S+/step-runner.sock", "socket PATH"),
    (r"\S+/tmp\.\w+", "DIRECTORY"),
    (r"\d+\.\d s", "TIME"),
    (r"[23] processes", "PROCESSES"),
)
"""The parts that differ from run to run: between two commands the script has one process more or less."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def same(text: str) -> str:
    """Return the text without the parts that differ from run to run."""
    for pattern, name in VARYING:
        text = re.sub(pattern, name, text)
    return text


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": os.pathsep.join([os.environ["PATH"], os.path.dirname(sys.executable)])}


def shell(text: str, directory: Path) -> str:
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def test_console_block_and_picture_show_real_run(temporary: str) -> None:
    """The picture is that of the block: it is drawn by `python -m tools.terminal`."""
    (block,) = blocks("console")
    run = shown(list(played(session(PAGE), temporary)))
    assert same(run) == same(block)
    drawn = (ROOT / "docs/pictures/cancel.svg").read_text(encoding="utf-8")
    lines = re.findall(r"<text [^>]*>([^<]*)</text>", drawn)
    assert [same(line) for line in lines] == re.findall(r"<text [^>]*>([^<]*)</text>", same(picture(block)))
    assert not re.search(r"(?<!xmlns=\")https?://", drawn)


def test_function_runs_as_written(tmp_path: Path) -> None:
    """The step file, checked and run by the block of commands; its report is a page."""
    (step_file,) = [block for block in blocks("yaml") if "hello/func.yml" in block]
    (commands,) = [block for block in blocks("sh") if "step-runner check hello" in block]
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello/func.yml").write_text(step_file)
    assert "hello Ada\n" in shell(commands, tmp_path)
    assert (tmp_path / "hello.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "function.json").exists()


def test_python_block_runs_as_written(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("deploy:\n\t@echo deploying\n")
    (block,) = blocks("python")
    ended = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == "exited 0 False ()"


def test_make_targets_of_the_page_exist() -> None:
    (block,) = [block for block in blocks("sh") if "make run" in block]
    for target in re.findall(r"^make (\S+)", block, re.MULTILINE):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.timeout(400)
def test_installation_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pipx installs the project into a virtual environment, here in a directory of the test."""
    if shutil.which("pipx") is None:
        absent("pipx")
    (block,) = [block for block in blocks("sh") if "pipx" in block]
    for name in ("PIPX_HOME", "PIPX_BIN_DIR", "PIPX_MAN_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("PIPX_DEFAULT_PYTHON", sys.executable)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("PATH", f"{tmp_path}/pipx_bin_dir:{os.environ['PATH']}")
    assert shell(block, ROOT).splitlines()[-1].startswith("step-runner ")
