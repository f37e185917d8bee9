"""`run --report FILE.html` and `step-runner report`: the page, as a real browser shows it."""

from __future__ import annotations

import json
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.browser import Browser
from tests.support.here import step_runner

ROOT = Path(__file__).parents[2]

STEPS = """\
{}
---
run:
  - name: first
    script: seq 1000
  - name: second
    script: |
      trap '' TERM
      echo ready >&2
      while :; do sleep 60; done
    env: {STAGE: "<prod>"}
  - name: third
    script: echo
"""

SHAPES = """\
[...document.querySelectorAll('rect.bar')].map(bar => ({
  kind: bar.className.baseVal, title: bar.textContent, width: bar.getBoundingClientRect().width,
  left: bar.getBoundingClientRect().left, fill: getComputedStyle(bar).fill}))"""


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The report of a run that was stopped in its second step, whose shell ignored SIGTERM."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yml").write_text(STEPS)
    command = (sys.executable, "-m", "step_runner", "run", "job.yml", "--graceful-exit-delay", "300ms")
    process = subprocess.Popen(
        [*command, "--report", "r.json"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    with process:
        assert process.stderr is not None
        while process.stderr.readline() != b"ready\n":
            pass
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    return tmp_path / "r.json"


def test_page_shows_bars_and_signals_in_real_browser(stopped: Path, tmp_path: Path) -> None:
    """Each step that ran has a bar at its time, with a pattern of its own; signals and killed processes are named."""
    assert step_runner("report", str(stopped)).stdout == f"{tmp_path}/r.html\n"
    with Browser(tmp_path / "profile") as browser:
        browser.open((tmp_path / "r.html").as_uri())
        whole, first, second = browser.evaluate(SHAPES)
        text = browser.evaluate("document.body.textContent")
        marks = browser.evaluate("document.querySelectorAll('path.mark').length")
    assert [bar["kind"] for bar in (whole, first, second)] == ["bar cancelled", "bar success", "bar cancelled"]
    assert first["title"].startswith("first: success, ")
    assert first["title"].endswith(", 3.9 kB")
    assert second["left"] > first["left"]
    assert whole["width"] > second["width"] > 50
    assert whole["fill"] == 'url("#cancelled")'
    assert marks >= 2
    for shown in ("third", "not run", "SIGTERM to ", "ignored SIGTERM", "SIGKILL", "STAGE <prod>"):
        assert shown in text


def test_page_requests_nothing_and_runs_no_script(stopped: Path, tmp_path: Path) -> None:
    """Its policy forbids both, and the browser has sent no request but the one for the page."""
    step_runner("report", str(stopped))
    page = tmp_path / "r.html"
    with Browser(tmp_path / "profile") as browser:
        browser.open(page.as_uri())
        requests = list(browser.requests)
        scripts = browser.evaluate("document.scripts.length + document.querySelectorAll('[src], [href]').length")
    assert requests == [page.as_uri()]
    assert scripts == 0
    assert "default-src 'none'" in page.read_text()


def test_page_of_commands_names_each_field(stopped: Path) -> None:
    """docs/commands.md, but for the parts of a function's definition."""
    report = json.loads(stopped.read_text())
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    assert {name for name in fields(report) if f"`{name}`" not in page} == set()


def fields(value: object) -> set[str]:
    """Return the names of a report's fields, without names chosen by users and fields only for programs."""
    match value:
        case dict():
            inner = [fields(one) for name, one in value.items() if name not in ("step", "specDefinition", "env")]
            return set(value).union(*inner) - {"reason", "detail", "forced"}
        case list():
            return set().union(*map(fields, value))
        case _:
            return set()


def test_run_writes_page_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the suffix of the file; it is the page that `report` makes of the JSON."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yml").write_text("{}\n---\nexec: {command: ['true']}\n")
    assert step_runner("run", "job.yml", "--report", "r.HTML").status == 0
    assert (tmp_path / "r.HTML").read_text().startswith("<!DOCTYPE html>")
    assert stat.S_IMODE((tmp_path / "r.HTML").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not a report: Input data was truncated"),
        ("[]", "not a report: Expected `object`, got `array`"),
        ('{"status": "success"}', "not a report: Object missing required field `exitStatus`"),
        ("\udcff", "not a report: "),
    ],
)
def test_file_that_is_not_a_report_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    ended = step_runner("report", str(path))
    assert (ended.status, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"Error: {path}: {reason}")
    assert ended.stderr.endswith(": give a file that run --report FILE.json wrote\n")


def test_absent_report_is_named(tmp_path: Path) -> None:
    assert step_runner("report", f"{tmp_path}/absent.json").stderr == (
        f"Error: {tmp_path}/absent.json: no such file or directory\n"
    )


SECRETS = """\
spec:
  inputs:
    token: {type: string, default: hunter2, sensitive: true}
    key: {type: string, sensitive: true}
  outputs:
    pin: {type: string, sensitive: true}
    version: {type: string}
---
env: {PLAIN: yes, AUTH: "Bearer ${{ inputs.token }}"}
exec:
  command:
    - sh
    - -c
    - echo '{"name":"pin","value":"7"}' >$1; echo '{"name":"version","value":"1.2"}' >>$1
    - sh
    - "${{ output_file }}"
    - "${{ inputs.token }}"
    - "${{ inputs.key }}"
"""


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a function with secrets, some of them too short to be found in a text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INHERITED", "from outside")
    (tmp_path / "job.yml").write_text(SECRETS)
    return tmp_path


def test_report_masks_sensitive_values(secret: Path) -> None:
    """Defaults, inputs, outputs, variables and arguments, also those that are too short to be searched for."""
    step_runner("run", "job.yml", "--inputs", "key=q!", "--report", "r.json")
    text = (secret / "r.json").read_text()
    assert "hunter2" not in text
    assert "q!" not in text
    (step,) = json.loads(text)["result"]["subStepResults"]
    assert step["outputs"] == {"pin": "***", "version": "1.2"}
    assert step["step"]["inputs"] == {"key": "***"}
    assert step["env"] == {"PLAIN": "yes", "AUTH": "***"}
    assert step["execResult"]["command"][-2:] == ["***", "***"]
    assert step["specDefinition"]["spec"]["spec"]["inputs"]["token"]["default"] == "***"


def test_report_holds_only_variables_set_by_steps(secret: Path) -> None:
    step_runner("run", "job.yml", "--inputs", "key=q!", "--report", "r.json", "--env", "OWN=1")
    text = (secret / "r.json").read_text()
    assert "from outside" not in text
    assert json.loads(text)["result"]["subStepResults"][0]["env"].keys() == {"OWN", "PLAIN", "AUTH"}


def test_report_gives_start_and_duration_of_each_step(secret: Path) -> None:
    (secret / "two.yml").write_text("{}\n---\nrun: [{name: a, script: sleep 0.1}, {name: b, script: exit 3}]\n")
    step_runner("run", "two.yml", "--report", "r.json")
    (whole,) = json.loads((secret / "r.json").read_text())["result"]["subStepResults"]
    a, b = whole["subStepResults"]
    assert (whole["status"], a["status"], b["status"]) == ("failure", "success", "failure")
    assert b["startTime"] > a["startTime"] >= whole["startTime"]
    assert whole["duration"] >= a["duration"] >= 0.1


def test_page_names_step_that_failed_to_start(secret: Path) -> None:
    """It has no result of its own; the steps after it were not run."""
    run = [{"name": "a", "script": "true"}, {"name": "b", "script": "${{ vars.X }}"}, {"name": "c", "script": "true"}]
    (secret / "three.yml").write_text("{}\n---\n" + json.dumps({"run": run}))
    step_runner("run", "three.yml", "--report", "r.html")
    page = (secret / "r.html").read_text()
    assert re.findall(r'y="\d+">([abc])</text>', page) == ["a", "b", "c"]
    assert re.findall(r'text-anchor="start">([a-z ]+)</text>', page) == ["failed to start", "not run"]


def test_run_prints_outputs_at_its_end(secret: Path) -> None:
    ended = step_runner("run", "job.yml", "--inputs", "key=q!")
    assert ended.stderr.endswith('Output pin="***"\nOutput version="1.2"\n')
    assert ended.stdout == ""
