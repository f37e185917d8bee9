"""Texts of files as they are shown."""

from __future__ import annotations

from step_runner import shown
from step_runner.errors import FunctionFileError, StepError
from step_runner.model import Place, Problem


def test_name_stays_on_one_line_and_controls_no_terminal() -> None:
    assert shown.name("a\nb\x1b[2Jc\u202ed") == "a\\nb\\x1b[2Jc\\u202ed"


def test_message_keeps_only_breaks_of_indented_lines() -> None:
    assert shown.message("wrong:\n  ${{ a\t}}\n  ^ here\nError: forged") == (
        "wrong:\n  ${{ a\t}}\n  ^ here\\nError: forged"
    )


def test_problem_of_a_file_is_one_message() -> None:
    problem = Problem(place=Place(file="a\n.yml", line=1, column=2), message='no field "\x1b[2J\nb.yml:1:1: forged"')
    assert (
        str(FunctionFileError([problem, problem])).split("\n  ")
        == ['a\\n.yml:1:2: no field "\\x1b[2J\\nb.yml:1:1: forged"'] * 2
    )


def test_name_of_a_step_forges_no_line() -> None:
    assert str(StepError("a\nError: forged", ValueError("x"))) == 'step "a\\nError: forged": x'
