"""The examples of docs/builtins.md work unchanged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import UNSET

from step_runner.builtin.catalog import OWN
from step_runner.builtin.function import spec
from step_runner.proc import Proc

if TYPE_CHECKING:
    from tests.support.registry import RegistryServer

PAGE = (Path(__file__).parents[2] / "docs" / "builtins.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def run(steps: str, directory: Path, **variables: str) -> list[str]:
    """Run a list of steps with `step-runner ci`; return the lines that they print."""
    ended = subprocess.run(
        [sys.executable, "-m", "step_runner", "ci"],
        cwd=directory,
        env={**os.environ, "STEPS": steps, "CI_PROJECT_DIR": str(directory), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    _version, *lines = ended.stdout.splitlines()
    return [line for line in lines if not line.startswith("Running step name=")]


def test_script_of_page_runs(tmp_path: Path) -> None:
    assert run(blocks("yaml")[0], tmp_path, CI_JOB_NAME="test") == ["hello from test"]


def test_job_script_prints_output_of_page(tmp_path: Path) -> None:
    (shown,) = [block for block in blocks("console") if block.startswith("$ cd /tmp")]
    assert run(blocks("yaml")[1], tmp_path) == shown.splitlines()


def test_function_of_page_is_built_published_and_used(tmp_path: Path, closed_registry: RegistryServer) -> None:
    project = tmp_path / "project"
    for platform in ("linux-amd64", "linux-arm64"):
        (project / "out" / platform).mkdir(parents=True)
        (project / "out" / platform / "hello").write_text("#!/bin/sh\necho hello\n")
        (project / "out" / platform / "hello").chmod(0o755)
    (project / "func.yml").write_text("{}\n---\nexec: {command: ['${{ func_dir }}/bin/hello']}\n")
    image = f"{closed_registry.host}/group"
    lines = run(
        blocks("yaml")[2],
        project,
        CI_REGISTRY=closed_registry.host,
        CI_REGISTRY_USER="ada",
        CI_REGISTRY_PASSWORD="hunter2",
        CI_REGISTRY_IMAGE=image,
    )
    assert lines[0].startswith("built function-image.tar: version 1.2.0, linux/amd64, linux/arm64, sha256:")
    assert re.fullmatch(rf"published {image}/hello@sha256:\w+ as 1\.2\.0, 1\.2, 1, latest", lines[1])
    assert lines[2:] == ["hello"]


def test_package_of_page_is_installed_and_called(tmp_path: Path) -> None:
    source, target, project = (tmp_path / name for name in ("source", "target", "project"))
    source.mkdir()
    project.mkdir()
    (source / "greeting.py").write_text(blocks("python")[0])
    backend = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    (source / "pyproject.toml").write_text(
        f'{backend}{blocks("toml")[0]}[tool.hatch.build.targets.wheel]\nonly-include = ["greeting.py"]\n'
    )
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)],
        check=True,
        capture_output=True,
    )
    lines = run(blocks("yaml")[3], project, PYTHONPATH=str(target))
    assert lines == ["greeting Ada", "hallo Ada, Ada"]


def test_table_has_every_input_of_every_function() -> None:
    rows = re.findall(r"^\| `([\w/]+)` \| (.*?) \|", PAGE, re.MULTILINE)
    listed = {name: dict(re.findall(r"`(\w+)(=?)`", inputs)) for name, inputs in rows}
    current = [name for name in OWN if not name.startswith("step/")]
    assert listed == {name: inputs_of(name) for name in current}


def inputs_of(name: str) -> dict[str, str]:
    """Return the inputs of a function; `=` marks an optional one."""
    inputs = spec(name, Proc(0)).inputs
    return {name: "" if parameter.default is UNSET else "=" for name, parameter in inputs.items()}
