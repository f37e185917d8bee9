"""What it costs to import the library."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import gracefulexitcmd

MODULES = "import json, sys; before = set(sys.modules); {}; print(json.dumps(sorted(set(sys.modules) - before)))"


def _imported(statement: str) -> list[str]:
    listing = subprocess.run(
        [sys.executable, "-c", MODULES.format(statement)], capture_output=True, text=True, check=True
    )
    modules: list[str] = json.loads(listing.stdout)
    return modules


@pytest.mark.parametrize("statement", ["import gracefulexitcmd", "import gracefulexitcmd.__main__"])
def test_import_takes_neither_asyncio_nor_ssl(statement: str) -> None:
    assert not {"asyncio", "ssl", "typing_extensions"}.intersection(_imported(statement))


def test_everything_stands_on_the_standard_library_alone() -> None:
    modules = _imported("import gracefulexitcmd.__main__, gracefulexitcmd.aio")
    packages = {module.partition(".")[0] for module in modules}
    assert packages - sys.stdlib_module_names == {"gracefulexitcmd"}


def test_every_public_name_is_there() -> None:
    numbers = {"DEVNULL", "PIPE", "STDOUT"}  # those of subprocess
    public = [name for name in gracefulexitcmd.__all__ if name not in numbers]
    assert [name for name in public if getattr(gracefulexitcmd, name).__name__ != name] == []


def test_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'gracefulexitcmd' has no attribute 'Command'"):
        gracefulexitcmd.Command  # noqa: B018
