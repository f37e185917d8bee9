"""The installed files of this program and of its dependencies at run time."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import gracefulexitcmd
import step_runner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.metadata import Distribution

Files: TypeAlias = "dict[str, Path]"
"""The path of a file, by its name relative to the directory that packages are imported from."""

OWN = "step-runner"
VENDORED = "step_runner/vendored/"
"""The directory with the wheel's copy of gracefulexitcmd. In the single file that is an ordinary package."""

LEFT_OUT = ("direct_url.json", "RECORD", "INSTALLER", "REQUESTED", "uv_build.json", "uv_cache.json")
"""Files that describe only this installation."""


def files() -> Files:
    """Return all files. Raise SystemExit if a dependency is missing, or was installed without a list of its files."""
    found: Files = {}
    for distribution in _distributions(OWN):
        found.update(_installed(distribution))
    found.update(_package(Path(str(step_runner.__file__)).parent))
    copied = {name: path for name, path in found.items() if not name.startswith(VENDORED)}
    return {**copied, **_package(Path(str(gracefulexitcmd.__file__)).parent)}


def _package(directory: Path) -> Files:
    """Return the files of a package from its directory, because an editable installation does not list them."""
    paths = (path for path in directory.rglob("*") if path.is_file() and not _is_bytecode(path))
    return {path.relative_to(directory.parent).as_posix(): path for path in paths}


def _installed(distribution: Distribution) -> Files:
    if distribution.files is None:
        name = distribution.metadata["Name"]
        sys.exit(f"Error: {name} was installed without a list of its files: install step-runner with pip")
    return {
        file.as_posix(): Path(str(file.locate()))
        for file in distribution.files
        if file.parts[0] != ".." and file.name not in LEFT_OUT and file.suffix != ".pth" and not _is_bytecode(file)
    }


def _is_bytecode(path: Path | importlib.metadata.PackagePath) -> bool:
    return path.suffix == ".pyc"


def _distributions(name: str) -> list[Distribution]:
    """Return a distribution and all its dependencies, direct and indirect."""
    found: dict[str, Distribution] = {}
    waiting = [name]
    while waiting:
        name = _canonical(waiting.pop())
        if name not in found:
            found[name] = _distribution(name)
            waiting.extend(_requirements(found[name]))
    return list(found.values())


def _distribution(name: str) -> Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        sys.exit(f"Error: {name} is not installed: install step-runner with pip")


def _requirements(distribution: Distribution) -> Iterator[str]:
    """Yield the names of the dependencies of a distribution on this machine.

    A dependency with a condition counts if it is installed, unless it belongs to an extra: we require no extras.
    """
    for requirement in distribution.requires or ():
        text, _, condition = requirement.partition(";")
        name = re.match(r"[\w.-]+", text.strip())
        if name and not re.search(r"\bextra\b", condition) and (not condition or _is_installed(name.group())):
            yield name.group()


def _is_installed(name: str) -> bool:
    return any(True for _ in importlib.metadata.distributions(name=name))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
