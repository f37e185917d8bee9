"""Packages that offer functions, laid out on the disk as an installer does it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from tests.fetch.conftest import odd_registry
from tests.runner.conftest import Workshop, workshop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Workshop", "install", "odd_registry", "workshop"]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Installs a package of one module of its own name; `functions` are the attributes that it offers, by name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(package: str, text: str, functions: dict[str, str], version: str = "1.0") -> Path:
        module = tmp_path / f"{package}.py"
        module.write_text(text)
        metadata = tmp_path / f"{package}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        lines = (f"{name} = {package}:{attribute}\n" for name, attribute in functions.items())
        (metadata / "entry_points.txt").write_text("[step_runner.functions]\n" + "".join(lines))
        assert package not in sys.modules
        return module

    return install
