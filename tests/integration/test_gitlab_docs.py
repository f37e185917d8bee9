"""The examples of docs/gitlab.md work unchanged."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml
from tests.integration.conftest import ROOT
from tests.support.gateway import Gateway, starting
from tests.support.server import Server

from step_runner.api.client import Client
from step_runner.model import RunRequest, Status

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Project

PAGE = (ROOT / "docs" / "gitlab.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_shell_commands_of_page_run_in_sequence(tmp_path: Path) -> None:
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
def test_pipelines_of_page_run(project: Project, number: int, line: str) -> None:
    project.write(".gitlab-ci.yml", blocks("yaml")[number])
    ended = project.run("deploy")
    assert ended.returncode == 0, ended.stdout
    assert line in ended.stdout


def test_run_keyword_of_the_page_runs_through_a_proxy(temporary: str, tmp_path: Path) -> None:
    """The test does the work of GitLab Runner: it appends the list of `run:` to an empty specification."""
    (job,) = [job for job in yaml.safe_load(blocks("yaml")[2]).values() if "run" in job]
    (tmp_path / "functions/greet").mkdir(parents=True)
    (tmp_path / "functions/greet/func.yml").write_text(blocks("yaml")[3])
    server = Server(temporary)
    gateway = Gateway(
        f"{temporary}/g.sock", starting(sys.executable, "-m", "step_runner", "proxy", "--socket", server.path)
    )
    with Client(f"{temporary}/g.sock") as client:
        client.run(RunRequest(id="1", steps=f"{{}}\n---\n{json.dumps({'run': job['run']})}", work_dir=str(tmp_path)))
        assert b"\nhello Ada\n" in b"".join(client.follow("1"))
        assert client.status("1").status is Status.SUCCESS
        client.close("1")
    ended = gateway.close()  # before the server, so that no client connects again in vain
    server.close()
    assert set(ended) == {0}


def test_links_of_page_exist() -> None:
    """Links to files and headings of this project exist; links to GitLab's documentation are not checked."""
    headings = {
        re.sub(r"[^\w -]", "", line.lower()).strip().replace(" ", "-") for line in PAGE.splitlines() if line[:1] == "#"
    }
    for link in re.findall(r"\]\(([^)]+)\)", PAGE):
        path, _, heading = link.partition("#")
        if not link.startswith("https://docs.gitlab.com/"):
            assert (ROOT / "docs" / path).exists(), link
            assert path or heading in headings, link
