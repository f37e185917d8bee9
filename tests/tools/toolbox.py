"""Tools of the package registries, each at one version, installed below `.cache/tools` once."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "tools"


def pypi(*requirements: str) -> Path:
    """Return the directory of the programs of these requirements, such as "uv==0.13.9"."""
    return _once("pypi", requirements, _install_pypi) / "bin"


def npm(*packages: str) -> Path:
    """Return the directory of the programs of these packages, such as "yarn@1.22.22"."""
    return _once("npm", packages, _install_npm) / "node_modules" / ".bin"


def debian(*packages: str) -> Path:
    """Return the root of the unpacked packages, such as "tini=0.19.0-1+b3"; nothing is installed."""
    return _once("debian", packages, _unpack_debian)


def _once(kind: str, names: tuple[str, ...], install: Callable[[Path, tuple[str, ...]], None]) -> Path:
    directory = CACHE / f"{kind}-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:12]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(f"{directory}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "complete").exists():
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
            install(directory, names)
            (directory / "complete").touch()
    return directory


def _install_pypi(directory: Path, requirements: tuple[str, ...]) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    _run(directory, uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(directory))
    _run(directory, uv, "pip", "install", "--quiet", "--python", str(directory / "bin" / "python"), *requirements)


def _install_npm(directory: Path, packages: tuple[str, ...]) -> None:
    _run(directory, "npm", "install", "--silent", "--no-audit", "--no-fund", *packages)


def _unpack_debian(directory: Path, packages: tuple[str, ...]) -> None:
    _run(directory, "apt-get", "--quiet=2", "download", *packages)
    for package in directory.glob("*.deb"):
        _run(directory, "dpkg", "-x", str(package), str(directory))


def _run(directory: Path, *command: str) -> None:
    subprocess.run(command, cwd=directory, check=True, stdin=subprocess.DEVNULL)
