"""References to functions on a machine with drives and backslashes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows, or Wine: make test-windows", allow_module_level=True)

from step_runner.fetch.git.repository import Repository
from step_runner.functions.reference import parse_reference
from step_runner.functions.resolution import local_directory
from step_runner.model import Dynamic, Local, Oci, Reference


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        (r"C:\functions\hello", Local(path="C:/functions/hello")),
        ("c:/functions/hello.yml", Local(path="c:/functions", file="hello.yml")),
        (r".\hello", Local(path="./hello")),
        (r"..\a\step.yml", Local(path="../a", file="step.yml")),
        (r"\functions", Local(path="/functions")),
        (r"\\server\share\f", Local(path="//server/share/f")),
        ("a/b:1.0", Oci(registry="registry.gitlab.com", repository="a/b", tag="1.0")),
        (r".\${{ vars.X }}", Dynamic(template=r".\${{ vars.X }}")),
    ],
)
def test_reference_parses_to_its_kind(text: str, reference: Reference) -> None:
    """Proves Windows."""
    assert parse_reference(text) == reference


@pytest.mark.parametrize(
    ("path", "base", "directory"),
    [
        ("C:/functions/hello", "D:/other", "C:/functions/hello"),
        ("./hello", "D:/other/", "D:/other/hello"),
        ("../hello", "D:/other/one", "D:/other/hello"),
        ("/hello", "D:/other", "D:/hello"),
        ("./hello", "", f"{Path.cwd().as_posix()}/hello"),
    ],
)
def test_local_reference_resolves_to_directory(path: str, base: str, directory: str) -> None:
    """Proves Windows."""
    assert local_directory(Local(path=path), base) == directory


def test_file_url_resolves_to_path_on_drive() -> None:
    """Proves Windows."""
    assert Repository.parse("file:///C:/folder%20of/repo").local_path == r"C:\folder of\repo"
