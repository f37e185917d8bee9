"""The search for a program on Windows, and the arguments of batch files."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows, or Wine: make test-windows", allow_module_level=True)

from gracefulexitcmd import Cmd
from gracefulexitcmd.windows.program import find

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Make a folder with the batch file `tool.cmd`, which prints its argument."""
    folder = tmp_path / "folder of tools"
    folder.mkdir()
    (folder / "tool.cmd").write_text("@echo tool %~1\n")
    return folder


@pytest.mark.parametrize("name", ["tool", r".\tool", "./tool.cmd", r"TOOL.CMD"])
def test_program_is_found_as_by_shell(tools: Path, name: str) -> None:
    """Proves Windows: by its path relative to the work dir, or in the PATH, with the endings of programs."""
    env = {**os.environ, "PATH": f'"{tools}";{os.environ["PATH"]}'}
    ended = Cmd([name, "given"], cwd=tools, env=env, stdout=subprocess.PIPE).run()
    assert (ended.returncode, (ended.stdout or b"").split()) == (0, [b"tool", b"given"])


def test_empty_entry_of_path_is_not_current_folder(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves Windows: PATH often ends with a semicolon."""
    monkeypatch.chdir(tools)
    assert find("tool", None, {"PATH": ";"}) is None


def test_program_in_work_dir_needs_its_path(tools: Path) -> None:
    """Proves Windows: else a program in the work dir could replace another one of the same name."""
    with pytest.raises(FileNotFoundError):
        Cmd(["tool"], cwd=tools).run()


@pytest.mark.parametrize("ending", ["", ".cmd", ".cmd."])
@pytest.mark.parametrize("argument", ['x"&echo INJECTED&"', "a&b", "%PATH%", "a\nb", "x>y"])
def test_batch_file_with_special_argument_is_refused(tools: Path, argument: str, ending: str) -> None:
    """Proves Windows: cmd.exe interprets such an argument even in quotes."""
    with pytest.raises(ValueError, match=r"tool\.cmd\.? is run by cmd\.exe, which would interpret the "):
        Cmd([f"{tools / 'tool'}{ending}", argument]).run()


def test_program_gets_arguments_unchanged(tmp_path: Path) -> None:
    """Proves Windows."""
    arguments = ['x"&echo&"', "%PATH%", "a\nb", "", "C:\\end\\", 'quo"te', "ü"]
    program = "import sys; sys.stdout.buffer.write(repr(sys.argv[1:]).encode())"
    ended = Cmd([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE).run()
    assert ended.stdout == repr(arguments).encode()
