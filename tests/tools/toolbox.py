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
CACHE = (ROOT / ".cache" / "tools").resolve()
OVERLAY = """for top in usr etc; do mount -t overlay -o "lowerdir=$0/$top:/$top" none "/$top" || exit; done
exec "$@"
"""


def pypi(*requirements: str) -> Path:
    """Return the directory of the programs of these requirements, such as "uv==0.13.9"."""
    return _once("pypi", requirements, _install_pypi) / "bin"


def npm(*packages: str) -> Path:
    """Return the directory of the programs of these packages, such as "yarn@1.22.22"."""
    return _once("npm", packages, _install_npm) / "node_modules" / ".bin"


def debian(*packages: str) -> Path:
    """Return the root of the unpacked packages, such as "tini=0.19.0-1+b3"; nothing is installed."""
    return _once("debian", packages, _unpack_debian)


def debian_system(*packages: str) -> Path:
    """Return the root of the unpacked packages, and of their dependencies that this machine lacks."""
    return _once("system", packages, _unpack_debian_system)


def within(root: Path, *command: str | Path) -> tuple[str, ...]:
    """Return a command that sees `/usr` and `/etc` of an unpacked system over this machine's, in mounts of its own."""
    return ("unshare", "--mount", "sh", "-c", OVERLAY, str(root), *(str(part) for part in command))


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


def _unpack_debian_system(directory: Path, packages: tuple[str, ...]) -> None:
    for name in ("usr/bin", "usr/sbin", "usr/lib", "etc", "partial"):
        (directory / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib"):
        (directory / name).symlink_to(f"usr/{name}")  # as on this machine, whose /lib is a link that no mount is put on
    here = f"Dir::Cache::archives={directory}"
    options = ("--quiet=2", "--yes", "--no-install-recommends", "--allow-downgrades", "--option=Debug::NoLocking=1")
    _run(directory, "apt-get", *options, f"--option={here}", "--download-only", "install", *packages)
    unpack = 'set -e; for package in *.deb; do dpkg --fsys-tarfile "$package" | tar -x --keep-directory-symlink; done'
    _run(directory, "sh", "-c", unpack)  # dpkg -x makes a directory of a link


def _run(directory: Path, *command: str) -> None:
    subprocess.run(command, cwd=directory, check=True, stdin=subprocess.DEVNULL)
