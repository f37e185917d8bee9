"""Directories are removed, whatever a job has done to them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from step_runner.removal import remove

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform == "win32":
    pytest.skip("what is tried here is not possible there", allow_module_level=True)

LEVELS = 5000
"""More than the interpreter has frames, a process descriptors, and a path bytes."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    return tmp_path / "made"


def test_removal_deletes_everything_and_follows_no_link(directory: Path) -> None:
    kept = directory.parent / "kept"
    (kept / "inner").mkdir(parents=True)
    (directory / "a" / "b").mkdir(parents=True)
    (directory / "a" / "empty").mkdir()
    (directory / "a" / "file").write_text("x")
    (directory / "a" / "b" / "directory").symlink_to(kept)
    (directory / "a" / "broken").symlink_to("nowhere")
    os.mkfifo(directory / "pipe")
    assert remove(os.fspath(directory))
    assert os.listdir(directory.parent) == ["kept"]
    assert (kept / "inner").is_dir()


def test_link_to_directory_keeps_its_target(directory: Path) -> None:
    link = directory.parent / "link"
    link.symlink_to(directory)
    assert not remove(os.fspath(link))
    assert directory.is_dir()


def test_missing_directory_is_not_an_error(tmp_path: Path) -> None:
    assert remove(os.fspath(tmp_path / "gone"))


def test_removal_reaches_any_depth(directory: Path) -> None:
    """The depth may exceed what the interpreter and the system can count."""
    deep = f"import os\nfor _ in range({LEVELS}):\n    os.mkdir('d')\n    os.chdir('d')\nopen('file', 'w').close()"
    subprocess.run([sys.executable, "-c", deep], cwd=directory, check=True)
    assert remove(os.fspath(directory))


@pytest.mark.parametrize("mode", [0, 0o500, 0o300])
def test_directories_without_permissions_are_removed(directory: Path, mode: int) -> None:
    """This holds for a user that is bound by modes, too."""
    (directory / "inner").mkdir()
    (directory / "inner" / "file").write_text("x")
    for path in (directory / "inner", directory):
        path.chmod(mode)
    bound = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.getuid() == 0 else ()
    program = "import sys; from step_runner.removal import remove; print(remove(sys.argv[1]))"
    command = [*bound, sys.executable, "-c", program, os.fspath(directory)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "True\n"


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="only root can mount a directory")
def test_mounted_directory_is_kept(directory: Path) -> None:
    kept = directory.parent / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    (directory / "mounted").mkdir()
    (directory / "file").write_text("x")
    program = "import sys; from step_runner.removal import remove; print(remove(sys.argv[1]))"
    mounts = 'mount --bind "$0" "$1"/mounted && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--mount", "sh", "-c", mounts, str(kept), str(directory), sys.executable, program]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "False\n"
    assert os.listdir(kept) == ["file"]
    assert os.listdir(directory) == ["mounted"]
