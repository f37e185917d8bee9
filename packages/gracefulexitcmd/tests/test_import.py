"""The cost of the library's import, and the imports of its modules."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import gracefulexitcmd

SOURCE = Path(gracefulexitcmd.__file__).parent

MODULES = "import json, sys; before = set(sys.modules); {}; print(json.dumps(sorted(set(sys.modules) - before)))"


def _imported(statement: str) -> list[str]:
    listing = subprocess.run(
        [sys.executable, "-c", MODULES.format(statement)], capture_output=True, text=True, check=True
    )
    modules: list[str] = json.loads(listing.stdout)
    return modules


@pytest.mark.parametrize("statement", ["import gracefulexitcmd", "import gracefulexitcmd.__main__"])
def test_import_loads_neither_asyncio_nor_ssl(statement: str) -> None:
    assert not {"asyncio", "ssl", "typing_extensions"}.intersection(_imported(statement))


@pytest.mark.parametrize("statement", ["import gracefulexitcmd", "import gracefulexitcmd.__main__"])
def test_import_loads_neither_dataclasses_nor_shlex(statement: str) -> None:
    assert not {"dataclasses", "inspect", "ast", "shlex"}.intersection(_imported(statement))


@pytest.mark.parametrize("statement", ["import gracefulexitcmd", "from gracefulexitcmd import run"])
def test_import_loads_no_typing(statement: str) -> None:
    """It costs as much as a third of this package."""
    assert "typing" not in _imported(statement)


def test_library_works_with_standard_library_alone() -> None:
    modules = _imported("import gracefulexitcmd.__main__, gracefulexitcmd.aio")
    packages = {module.partition(".")[0] for module in modules}
    assert packages - sys.stdlib_module_names == {"gracefulexitcmd"}


def _imports(path: Path) -> list[str]:
    """Return the modules that a file imports anywhere."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return plain + [
        f"{node.module}.{alias.name}" for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    ]


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_module_imports_only_standard_library(path: Path) -> None:
    """This includes imports inside functions, and those for other systems."""
    known = sys.stdlib_module_names | {"gracefulexitcmd", "typing_extensions"}  # type checkers provide the last one
    assert [module for module in _imports(path) if module.split(".")[0] not in known] == []


@pytest.mark.parametrize(("own", "other"), [("posix", "windows"), ("windows", "posix")], ids=["posix", "windows"])
def test_systems_do_not_import_each_other(own: str, other: str) -> None:
    modules = [module for path in (SOURCE / own).glob("*.py") for module in _imports(path)]
    assert any(module.startswith(f"gracefulexitcmd.{own}.") for module in modules)
    assert not any(module.startswith(f"gracefulexitcmd.{other}.") for module in modules)


def test_every_public_name_exists() -> None:
    numbers = {"DEVNULL", "PIPE", "STDOUT"}  # the modules of subprocess
    public = [name for name in gracefulexitcmd.__all__ if name not in numbers]
    assert [name for name in public if getattr(gracefulexitcmd, name).__name__ != name] == []


def test_unknown_name_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'gracefulexitcmd' has no attribute 'Command'"):
        gracefulexitcmd.Command  # noqa: B018
