"""The site of the documentation: `make docs` builds it, a real browser reads it, and its examples run."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from tests.support.absent import absent
from tests.support.browser import Browser

from step_runner.cli.names import COMMANDS
from step_runner.expression import expand

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing about its requests."""

    def log_message(self, *_arguments: object) -> None:
        """Write nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it; a broken link within it is an error."""
    if importlib.util.find_spec("mkdocs") is None:
        absent("mkdocs")
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(directory)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stdout + built.stderr) == (0, "")
    return directory


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """The address of the site."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_search_finds_page_without_external_requests(address: str, tmp_path: Path) -> None:
    """Fonts, icons and scripts are the site's own: a browser asks no other server for anything."""
    with Browser(tmp_path / "profile") as browser:
        browser.open(f"{address}/functions.html?q=errexit")
        found = browser.wait_for("document.querySelectorAll('.md-search-result__item').length")
        for page in ("index", "guarantees", "api-library", "commands"):
            browser.open(f"{address}/{page}.html")
            assert browser.evaluate("[...document.images].every(image => image.naturalWidth > 0)"), page
    assert found > 0
    assert {urlsplit(request).netloc for request in browser.requests if not request.startswith("data:")} == {
        urlsplit(address).netloc
    }


def test_page_of_commands_holds_each_help(site: Path) -> None:
    text = (site / "commands.html").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"Usage: step-runner {name} " in text or f"Usage: step-runner {name}\n" in text, name


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("api-library.html", ["Cmd", "AsyncCmd", "Exit", "Container", "contain", "supervise", "recover"]),
        ("api-plugins.html", ["Sensitive", "Exported", "JobVariables"]),
    ],
)
def test_reference_holds_exported_names(site: Path, page: str, names: list[str]) -> None:
    text = (site / page).read_text(encoding="utf-8")
    for name in names:
        assert re.search(rf'<h[1-4] id="[\w.]*\.{name}"', text), name


# The content of the pages.


def blocks(page: str) -> list[tuple[str, str]]:
    """The blocks of a page with their languages."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_tutorial_runs_as_written(tmp_path: Path) -> None:
    """Its step files lie where their first lines say, and its commands run one after another."""
    for language, text in blocks("tutorial.md"):
        if language == "yaml":
            path = tmp_path / text.splitlines()[0].removeprefix("# ")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    commands = "".join(text for language, text in blocks("tutorial.md") if language == "sh")
    ended = subprocess.run(
        ["bash", "-eu", "-c", commands],
        cwd=tmp_path,
        env={**os.environ, "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    for line in ('Output file="public/index.html"', "version 1.2", "tested public/index.html", "rolling back"):
        assert f"{line}\n" in ended.stdout
    assert re.search(r"^Stopping .*: SIGTERM to \d+ process", ended.stdout, re.MULTILINE)
    assert "exit status 143\n" in ended.stdout


SCOPE = {"inputs": {"n": 2, "team": ["a", "b"], "point": {"x": 1}, "none": ""}}

EXAMPLES = re.findall(
    r"^\|.*\| `([^`]+)` \| `([^`]+)` \|$", (DOCS / "functions.md").read_text(encoding="utf-8"), re.MULTILINE
)
"""The expressions of the page and their results."""


@pytest.mark.parametrize(("expression", "result"), EXAMPLES)
def test_expression_of_page_has_its_result(expression: str, result: str) -> None:
    template = "${{ " + expression.replace(r"\|", "|") + " }}"
    assert expand(template, SCOPE) == json.loads(result)


def test_page_of_functions_names_each_key_of_the_schema() -> None:
    text = (DOCS / "functions.md").read_text(encoding="utf-8")
    schema = json.loads((ROOT / "schema/function.json").read_text(encoding="utf-8"))
    keys = {key for name, part in schema["$defs"].items() for key in part.get("properties", {}) if "Stop" not in name}
    assert {key for key in keys if not re.search(rf"\b{key}\b", text)} - {"action"} == set()
