"""Imports point down only, and nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

import gracefulexitcmd

SOURCE = Path(__file__).parents[1] / "src"

BELOW: dict[str, set[str]] = {
    "__main__": {"cli", "leaving"},
    "cli": {"api", "bootstrap"},
    "api": {"jobs"},
    "jobs": {"runner", "functions"},
    "runner": {"expression", "gracefulexitcmd"},
    "functions": {"builtin", "fetch", "expression"},
    "builtin": {"fetch", "expression", "gracefulexitcmd", "plugin"},
    "fetch": {"gracefulexitcmd"},
    "plugin": set(),
    "bootstrap": set(),
    "proc": {"gracefulexitcmd"},
    "expression": set(),
    "__init__": set(),
    "gracefulexitcmd": set(),
    "leaving": set(),
    "paths": set(),
    "private": set(),
    "shown": {"gracefulexitcmd"},
    "removal": set(),
    "spelling": set(),
    "temporary": set(),
    "windows_file": set(),
    "model": set(),
    "errors": set(),
    "imports": set(),
}
"""The rooms that each room may import directly; it may also import their rooms."""

ROOMS = [path for path in (SOURCE / "step_runner").iterdir() if path.suffix == ".py" or any(path.glob("*.py"))]

FOR_ALL = {
    "model",
    "errors",
    "imports",
    "paths",
    "private",
    "proc",
    "removal",
    "shown",
    "spelling",
    "temporary",
    "windows_file",
}

VALUES = {
    "model": {"gracefulexitcmd", "errors", "shown"},
    "errors": {"model", "shown"},
}
"""The modules of the shared values and errors."""

HEAVY = {"grpc", "asyncio", "yaml", "ssl"}


def room(module: str) -> str | None:
    """The room that a module belongs to; None for modules that are not ours."""
    parts = module.split(".")
    if parts[0] == "gracefulexitcmd":
        return parts[0]
    if parts[0] != "step_runner" or len(parts) == 1:
        return None
    return parts[1]


def reachable(room: str) -> set[str]:
    below = BELOW[room]
    return below.union(*map(reachable, below)) | VALUES.get(room, FOR_ALL) if room != "gracefulexitcmd" else set()


def imports(path: Path) -> list[tuple[int, str]]:
    """The modules that a file imports anywhere in it, each with its line."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            assert node.module is not None
            # `from step_runner import jobs` names a room, `from step_runner.jobs import state` a module of one.
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


FILES = sorted(path for path in SOURCE.rglob("*.py") if "pb" not in path.parts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    own = room(".".join(path.relative_to(SOURCE).with_suffix("").parts))
    assert own is not None
    allowed = reachable(own) | {own}
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: {own} imports {module}"
        for line, module in imports(path)
        if (other := room(module)) is not None and other in BELOW and other not in allowed
    ]
    assert wrong == []


def test_every_room_has_a_level() -> None:
    """An import of a room that is not listed would not be seen."""
    assert {path.stem for path in ROOMS} | {"gracefulexitcmd"} == set(BELOW)


def test_every_room_is_on_the_plan() -> None:
    """The plan of the rooms in CONTRIBUTING.md names each, as a directory, a module or a pattern of modules."""
    plan = (SOURCE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```")[3]
    names = re.findall(r"[\w*]+(?:\.py|/)(?=\s)", plan)
    rooms = [path.name if path.suffix else f"{path.name}/" for path in ROOMS if not path.name.startswith("__")]
    assert [name for name in rooms if not any(fnmatch(name, named) for named in names)] == []


def test_runner_does_not_import_functions() -> None:
    """A reference that is known only while running is asked for through a callable that jobs hand in."""
    assert "functions" not in reachable("runner")


MODULES = ("clock", "duration", "pipes", "program", "sequence")
PUBLIC = ("gracefulexitcmd", *(f"gracefulexitcmd.{name}" for name in MODULES))
"""The modules of the library that its docstring declares public."""


def exported(module: str) -> set[str]:
    """Return `__all__` of a module, for every system."""
    (directory,) = gracefulexitcmd.__path__
    path = Path(directory, *module.split(".")[1:])
    text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    (names,) = [
        ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    return set(names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_program_imports_exports_of_library(path: Path) -> None:
    """Nothing private of the library is used, so that any program could do what this one does."""
    own = [module for _, module in imports(path) if room(module) == "gracefulexitcmd"]
    known = {*PUBLIC, *(f"{module}.{name}" for module in PUBLIC for name in exported(module))}
    assert set(own) - known == set()


def test_public_modules_are_declared_by_the_library() -> None:
    assert gracefulexitcmd.__doc__ is not None
    declared = re.findall(r"`(\w+)`\s\(", gracefulexitcmd.__doc__)
    assert declared == list(MODULES)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["serve", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "step_runner", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    imported = set(re.findall(r"\| +(\w+)(?:\.\S+)?$", shown.stderr, re.MULTILINE))
    assert "step_runner" in imported
    assert imported & HEAVY == set()
