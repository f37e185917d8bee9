"""What docs/gitlab.md tells people to write works as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.integration.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Project

PAGE = (ROOT / "docs" / "gitlab.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_shell_commands_run_one_after_another(tmp_path: Path) -> None:
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks("shell"))],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert "hello from test\n" in ended.stdout


@pytest.mark.parametrize(
    ("number", "line"),
    [(0, "deploy > deploying 1.2 to deploy\n"), (1, "deploy > hello\n")],
    ids=["outputs", "a delay of its own"],
)
def test_the_pipelines_run(project: Project, number: int, line: str) -> None:
    project.write(".gitlab-ci.yml", blocks("yaml")[number])
    ended = project.run("deploy")
    assert ended.returncode == 0, ended.stdout
    assert line in ended.stdout
