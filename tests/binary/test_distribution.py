"""The list of files of the single file."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from binary import distribution


def test_files_are_equal_from_installed_wheel(tmp_path: Path) -> None:
    """It finds an installed package in its directory, and an editable one in its source directory."""
    root = Path(__file__).parent.parent.parent
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target"]
    subprocess.run([*install, str(site), str(wheel)], check=True)
    program = "import step_runner; from binary import distribution as d; print(*d.files(), sep='\\n')"
    listing = subprocess.run(
        [os.path.realpath(sys.executable), "-c", program],
        env={"PYTHONPATH": f"{site}:{sysconfig.get_path('platlib')}:{root}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    files = set(listing.stdout.splitlines())
    assert files == set(distribution.files())
    assert {"step_runner/__main__.py", "gracefulexitcmd/cmd.py", "click/core.py", "grpc/__init__.py"} <= files
    assert f"msgspec/_core{sysconfig.get_config_var('EXT_SUFFIX')}" in files
    assert not [name for name in files if name.endswith((".pyc", ".pth", "RECORD", "direct_url.json"))]


def test_missing_dependency_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "OWN", "no-such-distribution")
    with pytest.raises(SystemExit, match="Error: no-such-distribution is not installed: install step-runner with pip"):
        distribution.files()
