"""Fixtures with a real CI engine and projects for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.support.absent import absent

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]

VARIABLE = "GITLAB_CI_LOCAL"
"""The environment variable with the path of the engine's program."""

OPTIONS = ("--shell-executor-no-image", "--no-shell-isolation", "--no-color", "--no-json-schema-validation")


@pytest.fixture(scope="session")
def engine() -> str:
    """Return the path of gitlab-ci-local from the environment, from .ci/install or from PATH.

    If it is missing, skip the tests that need it; in CI let them fail.
    """
    installed = ROOT / ".cache/npm/node_modules/.bin/gitlab-ci-local"
    found = os.environ.get(VARIABLE) or (str(installed) if installed.exists() else shutil.which("gitlab-ci-local"))
    if found is None or shutil.which("rsync") is None:
        absent("gitlab-ci-local or rsync")
    return found


class Project:
    """A git repository with a .gitlab-ci.yml; its jobs can call `step-runner`."""

    def __init__(self, engine: str, directory: Path, home: Path) -> None:
        self.directory = directory
        self._engine = engine
        self._home = home
        self._git("init", "-q", "-b", "main")
        self._git("remote", "add", "origin", "https://gitlab.example/group/project.git")

    def write(self, name: str, text: str) -> None:
        """Write a file of the project and commit it."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self._git("add", name)
        self._git("-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "-m", name)

    def run(self, job: str) -> subprocess.CompletedProcess[str]:
        """Run a job to its end; `stdout` holds the whole output of the engine."""
        return subprocess.run(self._command(job), check=False, **self._streams())

    def start(self, job: str) -> subprocess.Popen[str]:
        """Start a job in its own process group, like a shell on a terminal."""
        return subprocess.Popen(self._command(job), process_group=0, **self._streams())

    def _command(self, job: str) -> list[str]:
        return [self._engine, *OPTIONS, "--home", str(self._home), job]

    def _streams(self) -> dict[str, Any]:
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        return {
            "cwd": self.directory,
            "env": {**os.environ, "PATH": path},
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
        }

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.directory, check=True, stdin=subprocess.DEVNULL)


@pytest.fixture
def project(engine: str, tmp_path: Path) -> Project:
    """Make a project in its own directory."""
    (tmp_path / "project").mkdir()
    return Project(engine, tmp_path / "project", tmp_path / "home")


@pytest.fixture
def processes(temporary: str) -> Callable[[], list[psutil.Process]]:
    """Return a function that returns the live descendants of this test, found by their TMPDIR."""

    def living() -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if _is_ours(process, temporary)]

    return living


def _is_ours(process: psutil.Process, temporary: str) -> bool:
    try:
        return (
            process.pid != os.getpid()
            and process.status() != psutil.STATUS_ZOMBIE
            and process.environ().get("TMPDIR") == temporary
        )
    except psutil.Error:
        return False
