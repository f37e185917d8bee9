"""Which program a name means on Windows, and what a batch file can be given."""

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
    """A folder with the batch file `tool.cmd`, which says what it was given."""
    folder = tmp_path / "folder of tools"
    folder.mkdir()
    (folder / "tool.cmd").write_text("@echo tool %~1\n")
    return folder


@pytest.mark.parametrize("name", ["tool", r".\tool", "./tool.cmd", r"TOOL.CMD"])
def test_program_is_found_as_a_shell_finds_it(tools: Path, name: str) -> None:
    """Proves Windows: by its path from the work dir on, or in the PATH, with the endings that programs have."""
    env = {**os.environ, "PATH": f'"{tools}";{os.environ["PATH"]}'}
    ended = Cmd([name, "given"], cwd=tools, env=env, stdout=subprocess.PIPE).run()
    assert (ended.returncode, (ended.stdout or b"").split()) == (0, [b"tool", b"given"])


def test_place_without_a_name_in_the_path_is_not_the_current_folder(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves Windows: many a PATH ends in a semicolon."""
    monkeypatch.chdir(tools)
    assert find("tool", None, {"PATH": ";"}) is None


def test_program_in_the_work_dir_is_found_by_its_path_only(tools: Path) -> None:
    """Proves Windows: else whoever can write there could put a program in another one's place."""
    with pytest.raises(FileNotFoundError):
        Cmd(["tool"], cwd=tools).run()


@pytest.mark.parametrize("ending", ["", ".cmd", ".cmd."])
@pytest.mark.parametrize("argument", ['x"&echo INJECTED&"', "a&b", "%PATH%", "a\nb", "x>y"])
def test_batch_file_gets_no_argument_that_cmd_would_take_for_a_command(tools: Path, argument: str, ending: str) -> None:
    """Proves Windows: no quotes keep it from that."""
    with pytest.raises(ValueError, match=r"tool\.cmd\.? is run by cmd\.exe, which would interpret the "):
        Cmd([f"{tools / 'tool'}{ending}", argument]).run()


def test_program_gets_every_argument_as_it_is(tmp_path: Path) -> None:
    """Proves Windows."""
    arguments = ['x"&echo&"', "%PATH%", "a\nb", "", "C:\\end\\", 'quo"te', "ü"]
    program = "import sys; sys.stdout.buffer.write(repr(sys.argv[1:]).encode())"
    ended = Cmd([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE).run()
    assert ended.stdout == repr(arguments).encode()
