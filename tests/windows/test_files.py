"""Files on Windows: their names, their owners, and the removal of open files."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path, PurePosixPath

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows, or Wine: make test-windows", allow_module_level=True)

from step_runner import private
from step_runner.fetch.git.checkout import TreeError, _checked
from step_runner.fetch.limits import Limits
from step_runner.fetch.oci.rootfs import LayerError, RootFs
from step_runner.jobs.log import LARGEST_CHUNK, JobLog
from step_runner.proc import Proc
from step_runner.removal import remove
from step_runner.runner.environment import merged

NAMES = (r"..\..\evil", r"C:\evil", "x:stream", "nul", "COM1.txt", "a.", "a ", "a?", r"D\..\..\evil")
"""Names that lead out of the directory, to a device, to a stream of a file, or to another file."""


@pytest.mark.parametrize("name", NAMES)
def test_invalid_name_in_image_is_refused(tmp_path: Path, name: str) -> None:
    """Proves Windows; Wine makes no symbolic links, so `test_link_through_name_reserved_by_system_is_refused` does."""
    root = tmp_path / "above" / "root"
    root.mkdir(parents=True)
    tree = RootFs(root, Proc(0), Limits())
    with pytest.raises(LayerError, match="which no file of this system can have"):
        tree.add_file(f"folder/{name}", 0o644, io.BytesIO(b"x").read, 1)
    assert [path.name for path in tmp_path.rglob("*")] == ["above", "root"]


@pytest.mark.parametrize("name", NAMES)
def test_invalid_name_in_repository_is_refused(name: str) -> None:
    """Proves Windows."""
    with pytest.raises(TreeError, match="is a forbidden name"):
        _checked(name.encode(), PurePosixPath())


def test_own_file_is_trusted(tmp_path: Path) -> None:
    """Proves Windows for this user's own files; a test of foreign files would need a second user."""
    private.create(str(tmp_path / "own"), b"x")
    with open(tmp_path / "own", "rb") as file:
        assert private.is_trusted(file.fileno())


async def test_follower_reads_removed_log_to_its_end(tmp_path: Path) -> None:
    """Proves Windows: a log can be removed while a follower reads it, and the follower still gets all of it."""
    directory = str(tmp_path / "job")
    os.mkdir(directory)
    log = JobLog(os.path.join(directory, "logs"))
    line = "x" * (LARGEST_CHUNK - 1)
    for _ in range(5):
        log.notice(line)
    following = log.follow(0)
    first = await anext(following)
    log.end()
    remove(directory)
    rest = [chunk async for chunk in following]
    assert len(first) + sum(map(len, rest)) == 5 * LARGEST_CHUNK
    assert remove(directory)


def test_variable_names_ignore_case() -> None:
    """Proves Windows: a program gets only one of several variables whose names differ in case."""
    environment = merged({"PATH": "1", "HOME": "x"}, {"Path": "2"}, {"path": "3", "B": "y"})
    assert environment == {"HOME": "x", "path": "3", "B": "y"}
