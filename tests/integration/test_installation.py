"""The program and the library are two distributions, which can be installed together in either order."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import gracefulexitcmd
import step_runner

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "packages" / "gracefulexitcmd"

PLACES = "import step_runner, gracefulexitcmd.cmd as c; print(step_runner.__file__, c.__file__, sep='\\n')"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build both wheels with the project's build backend; return their paths by name."""
    directory = tmp_path_factory.mktemp("wheels")
    for folder in (ROOT, LIBRARY):
        _python("-m", "hatchling", "build", "-t", "wheel", "-d", str(directory), cwd=folder)
    return {path.name.partition("-")[0]: path for path in directory.glob("*.whl")}


def _python(*arguments: str, cwd: Path, python: Path | str = sys.executable, path: Iterable[str] = ()) -> str:
    ended = subprocess.run(
        [python, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


class Environment:
    """A new, empty virtual environment."""

    def __init__(self, directory: Path) -> None:
        _python("-m", "venv", "--without-pip", str(directory), cwd=directory.parent)
        self.python = directory / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        (self.packages,) = directory.rglob("site-packages")

    def pip(self, *arguments: str) -> None:
        """Run pip on this environment."""
        _python("-m", "pip", "--python", str(self.python), "--quiet", *arguments, cwd=self.packages)

    def run(self, *arguments: str, needs: Iterable[str] = ()) -> str:
        """Run the environment's Python, with the packages in the directories `needs`, too."""
        return _python(*arguments, cwd=self.packages.parent, python=self.python, path=needs)

    def changed(self, wheel: Path) -> list[str]:
        """Return the files of a wheel that are missing or different in this environment."""
        with zipfile.ZipFile(wheel) as archive:
            return [name for name in _names(wheel) if not self._has(name, archive.read(name))]

    def _has(self, name: str, content: bytes) -> bool:
        path = self.packages / name
        return path.is_file() and path.read_bytes() == content


def test_library_needs_nothing_and_is_typed(wheels: dict[str, Path]) -> None:
    """Its wheel contains one typed package, and requires no other distribution."""
    names = _names(wheels["gracefulexitcmd"])
    assert {name.split("/")[0] for name in names} == {"gracefulexitcmd"}
    assert {"gracefulexitcmd/py.typed", "gracefulexitcmd/posix/spawn.py", "gracefulexitcmd/windows/job.py"} <= names
    with zipfile.ZipFile(wheels["gracefulexitcmd"]) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        headers = archive.read(metadata).decode()
    assert f"\nVersion: {gracefulexitcmd.__version__}\n" in headers
    assert "\nRequires-Dist:" not in headers


def test_program_wheel_contains_copy_of_library(wheels: dict[str, Path]) -> None:
    """`pip install .` needs no package index with the library."""
    own = {name.removeprefix("step_runner/vendored/") for name in _names(wheels["step_runner"]) if "/vendored/" in name}
    assert own == _names(wheels["gracefulexitcmd"])
    assert not any("/src/" in f"/{name}" or name.endswith(".pyc") for name in _names(wheels["step_runner"]))


@pytest.mark.parametrize(
    "order", [("gracefulexitcmd", "step_runner"), ("step_runner", "gracefulexitcmd")], ids="-".join
)
def test_program_and_library_overwrite_nothing(wheels: dict[str, Path], tmp_path: Path, order: tuple[str, str]) -> None:
    """They share no file and both work; the removal of the first leaves the second complete."""
    here = Environment(tmp_path / "environment")
    for name in order:
        here.pip("install", "--no-index", "--no-deps", str(wheels[name]))
    assert [here.changed(wheel) for wheel in wheels.values()] == [[], []]
    assert not _names(wheels["gracefulexitcmd"]) & _names(wheels["step_runner"])

    assert here.run("-m", "gracefulexitcmd", "--", str(here.python), "-c", "print('ran')") == "ran\n"
    library = str(here.packages / "gracefulexitcmd" / "__init__.py")
    assert here.run("-c", "import gracefulexitcmd as g; print(g.__file__)").splitlines() == [library]

    needs = [path for path in sys.path if path.endswith("site-packages")]
    program = [str(here.packages / "step_runner" / rest) for rest in ("__init__.py", "vendored/gracefulexitcmd/cmd.py")]
    assert here.run("-c", PLACES, needs=needs).splitlines() == program
    assert step_runner.__version__ in here.run("-m", "step_runner", "--version", needs=needs)

    here.pip("uninstall", "--yes", order[0])
    assert here.changed(wheels[order[1]]) == []
