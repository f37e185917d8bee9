"""Copies the single file, and the files that belong next to it, to another directory of this machine."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from step_runner import private
from step_runner.errors import InputError, StepRunnerError

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = "step-runner"
CERTIFICATES = "ca-certs.pem"
GIT = "git"

NOT_ONE_FILE = (
    "bootstrap copies the single file that `make binary` makes, and this program is an installed package: "
    "start that file with bootstrap, or install the package at the destination with pip"
)


def install(destination: str, root: str = "/") -> str:
    """Copy the program to `destination`, or into that directory under its own name. Return its path.

    Replace an existing file atomically. Copy the file `ca-certs.pem` and the folder `git` of the directory `root` next
    to it. Raise InputError for a destination that cannot be used. Raise StepRunnerError if this program is not the
    single file, or if a file cannot be written.
    """
    target = _target(destination)
    if not getattr(sys, "frozen", False):
        raise StepRunnerError(NOT_ONE_FILE)
    with _explained():
        _make_directories(target.parent)
        private.replace(str(target), Path(sys.executable).read_bytes(), 0o755)
        _copy_neighbours(Path(root), target.parent)
    return str(target)


def _target(destination: str) -> Path:
    if not destination:
        raise InputError("destination argument must be provided")
    path = Path(destination)
    if destination.endswith("/") or path.is_dir():
        path /= PROGRAM
    if path.is_dir():
        raise InputError(f"{path}: is a directory: give another destination")
    return path


def _make_directories(path: Path) -> None:
    """Make a directory and its parents, with mode 0755 under any umask."""
    for directory in (*reversed(path.parents), path):
        with contextlib.suppress(FileExistsError):
            directory.mkdir()
            directory.chmod(0o755)
    if not path.is_dir():
        raise InputError(f"mkdir {path}: not a directory")


def _copy_neighbours(root: Path, directory: Path) -> None:
    if root.resolve() == directory.resolve():
        return
    if (certificates := root / CERTIFICATES).is_file():
        private.replace(str(directory / CERTIFICATES), certificates.read_bytes(), 0o644)
    if (git := root / GIT).is_dir():
        _replace_tree(git, directory / GIT)


def _replace_tree(source: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as made:
        shutil.copytree(source, Path(made, "new"), symlinks=True)
        # rename(2) fails with ENOTEMPTY for a target directory that is not empty, so move the old one away first.
        if target.exists():
            target.rename(Path(made, "old"))
        Path(made, "new").rename(target)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StepRunnerError(f"{error.filename}: {reason}: choose another destination") from error
