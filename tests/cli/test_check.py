"""`step-runner check`: problems as lines or as JSON, and the exit status."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.here import Ended, step_runner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GOOD = "{}\n---\nexec:\n  command: [echo, hello]\n"
WARNED = "{}\n---\nexec:\n  command: [echo]\n  workdir: /\n"
BAD = """\
{}
---
run:
  - name: a
    func: ./good
    inputs: {x: 1}
  - name: b
    script: echo "${{ inputs.y }}"
"""


LONG = "x" * 300


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Check files next to the function `good`, `warned` with a warning, and the file `bad.yml` with two errors."""
    for name, text in {"good/func.yml": GOOD, "warned/func.yml": WARNED, "bad.yml": BAD}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: step_runner("check", *arguments)


def test_check_prints_problems_on_stdout_and_count_on_stderr(check: Callable[..., Ended]) -> None:
    assert check("bad.yml") == (
        1,
        'bad.yml:6:14: "./good" takes no input "x"; remove it\n'
        'bad.yml:8:30: input "y" is not declared; declare it under inputs in the specification\n',
        "2 errors\n",
    )


def test_valid_files_give_no_output_and_status_0(check: Callable[..., Ended]) -> None:
    assert check("good", "good/func.yml") == (0, "", "")


def test_warnings_alone_leave_status_0(check: Callable[..., Ended]) -> None:
    line = 'warned/func.yml:5:3: warning: unknown key "workdir" in "exec" has no effect; did you mean "work_dir"?\n'
    assert check("warned") == (0, line, "1 warning\n")


def test_check_counts_problems_of_all_files(check: Callable[..., Ended]) -> None:
    ended = check("warned", "bad.yml", "good")
    assert (ended.status, ended.stdout.count("\n"), ended.stderr) == (1, 3, "2 errors, 1 warning\n")


def test_missing_file_or_directory_is_a_problem(check: Callable[..., Ended]) -> None:
    assert check("goood", "bda.yml").stdout == (
        'goood:1:1: no such directory; did you mean "good"?\n'
        "bda.yml:1:1: no such file, but its directory has bad.yml; "
        "a function is a directory with func.yml or step.yml\n"
    )


@pytest.mark.parametrize("path", [LONG, f"{LONG}.yml", f"{LONG}/func.yml"])
def test_name_invalid_in_file_system_is_a_problem(check: Callable[..., Ended], path: str) -> None:
    assert check(path) == (1, f"{path}:1:1: cannot be read, file name too long\n", "1 error\n")


def test_called_function_with_such_a_name_is_a_problem(check: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "long.yml").write_text(f"{{}}\n---\nrun: [{{name: a, func: ./{LONG}}}]\n")
    told = f"long.yml:3:23: {LONG}: cannot be read, file name too long\n"
    assert check("long.yml") == (1, told, "1 error\n")


def test_removed_current_directory_is_reported(check: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert check("x.yml") == (1, "", "Error: the current directory was removed; go to another one\n")


def test_json_output_is_a_list_of_objects(check: Callable[..., Ended]) -> None:
    ended = check("bad.yml", "warned", "--format", "json")
    problems: list[dict[str, Any]] = json.loads(ended.stdout)
    assert problems[0] == {
        "file": "bad.yml",
        "line": 6,
        "column": 14,
        "severity": "error",
        "message": '"./good" takes no input "x"; remove it',
    }
    assert [problem["severity"] for problem in problems] == ["error", "error", "warning"]
    assert (ended.status, ended.stderr) == (1, "2 errors, 1 warning\n")


def test_json_output_of_valid_files_is_an_empty_list(check: Callable[..., Ended]) -> None:
    assert check("good", "--format", "json") == (0, "[]\n", "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [((), "Missing argument 'FILE...'"), (("--format", "xml", "bad.yml"), "'xml' is not one of 'text', 'json'")],
    ids=["no file", "unknown format"],
)
def test_check_reports_usage_errors(check: Callable[..., Ended], arguments: tuple[str, ...], complaint: str) -> None:
    ended = check(*arguments)
    assert (ended.status, ended.stdout) == (1, "")
    assert complaint in ended.stderr


def test_check_reports_valid_file_on_terminal(terminal: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "func.yml").write_text(GOOD)
    assert terminal("check", str(tmp_path)).finish() == "no problems found\r\n"
