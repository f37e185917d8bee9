"""Fixtures with the single file, built once for all tests, and with a root directory without Python."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.bare_root import BareRoot

PROJECT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the single file; the first worker that needs it builds it, the others wait."""
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "binary"
    directory.mkdir(exist_ok=True)
    path = directory / "step-runner"
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            subprocess.run([sys.executable, "-m", "binary.build", str(path)], cwd=PROJECT, check=True)
    return path


@pytest.fixture
def root(program: Path, temporary: str) -> BareRoot:
    """Make a root directory with only the C library, a shell, and the single file as /bin/step-runner."""
    root = BareRoot(Path(temporary, "r"))
    root.add(program, "bin/step-runner")
    return root
