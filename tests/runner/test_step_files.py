"""A step has an output and an export file if it gets their paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.steps import command, run_list

if TYPE_CHECKING:
    from tests.runner.conftest import Workshop

IS_THERE = 'test -f "$path" && test -f "$(echo "$path" | sed s/output/export/)" && echo there'

WAYS: dict[str, dict[str, Any]] = {
    "argument": {"script": f"path=${{{{ output_file }}}}; {IS_THERE}"},
    "variable": {"env": {"path": "${{ output_file }}"}, "script": IS_THERE},
    "argument of function": {"step": "./checks"},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_step_has_files_if_it_gets_their_path(workshop: Workshop, way: dict[str, Any]) -> None:
    workshop.write("checks", command("sh", "-c", f"path=$0; {IS_THERE}", "${{ output_file }}"))
    assert await workshop.output(run_list({"name": "x", **way})) == ["there"]


async def test_step_has_no_files_without_their_path(workshop: Workshop) -> None:
    """To make and remove files takes a twentieth of a short step's time."""
    assert await workshop.output(run_list({"name": "x", "script": "ls ../scratch"})) == []


async def test_file_that_step_made_itself_is_read(workshop: Workshop) -> None:
    write = """echo '{"name": "a", "value": "b"}' > ../scratch/output-1"""
    read = {"name": "y", "script": "echo ${{ steps.x.outputs.a }}"}
    assert await workshop.output(run_list({"name": "x", "script": write}, read)) == ["b"]
    assert not list(workshop.scratch.iterdir())
