"""`KEY=VALUE` arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest
from msgspec import UNSET

from step_runner.cli.assignments import assignments, typed

if TYPE_CHECKING:
    from step_runner.model import Value


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param([], {}, id="none"),
        pytest.param(["a=1"], {"a": "1"}, id="one"),
        pytest.param(["a="], {"a": ""}, id="empty value"),
        pytest.param(["a=1", "a=2"], {"a": "2"}, id="the last of a name counts"),
        pytest.param(["a=1,b=2"], {"a": "1", "b": "2"}, id="two at once"),
        pytest.param(["a=1,2"], {"a": "1,2"}, id="one equals sign: the comma belongs to the value"),
        pytest.param(['"k=a,b",n=2'], {"k": "a,b", "n": "2"}, id="quoted as CSV"),
        pytest.param(['s="5",n=2'], {"s": '"5"', "n": "2"}, id="quotes inside of a value stay"),
        pytest.param(["a= 1 "], {"a": " 1 "}, id="blanks stay"),
        pytest.param(['"a=1,b=2'], {'"a': "1,b=2"}, id="quotes that are not closed"),
    ],
)
def test_assignment_gives_name_and_value(arguments: list[str], expected: dict[str, str]) -> None:
    assert assignments(arguments) == expected


@pytest.mark.parametrize("arguments", [["TOKEN"], ["TOKEN=x", "TOKEN"], ["a=1,b=2,TOKEN"]], ids=str)
def test_bare_name_takes_value_from_environment(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret need not be part of a command line."""
    monkeypatch.setenv("TOKEN", "s3cr3t,a=1")
    assert assignments(arguments)["TOKEN"] == "s3cr3t,a=1"


@pytest.mark.parametrize("argument", ["NOT_THERE", "a=1,b=2,NOT_THERE"])
def test_name_missing_from_environment_is_refused(argument: str) -> None:
    with pytest.raises(
        click.UsageError, match='"NOT_THERE" is not set in the environment: set it, or write NOT_THERE='
    ):
        assignments([argument])


@pytest.mark.parametrize("argument", ["", "=1"])
def test_argument_without_a_name_is_refused(argument: str) -> None:
    with pytest.raises(click.UsageError, match="must be formatted as key=value"):
        assignments([argument])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n=5", 5),
        ("n=2.5", 2.5),
        ("b=true", True),
        ("s='5'", "5"),
        ('s="5"', "5"),
        ("s=yes", "yes"),
        ("a=[1,2]", [1, 2]),
        ("o={a: 1}", {"a": 1}),
        ("z=", None),
        ("z=null", None),
        ("t=${{ env.HOME }}", "${{ env.HOME }}"),
        ("t=a,b", "a,b"),
    ],
)
def test_typed_input_keeps_text_and_yaml_value(text: str, expected: Value) -> None:
    """Which of the two counts is known with the declared type."""
    (given,) = typed([text]).values()
    assert (given.text, given.value) == (text.partition("=")[2], expected)


@pytest.mark.parametrize("text", ["[1", "a: b: c", "@x", "{a: 1, a: 2}"])
def test_typed_input_with_invalid_yaml_is_reported_late(text: str) -> None:
    """A string need not be YAML, so the fault is kept until another type is asked for."""
    given = typed([f"a={text}"])["a"]
    assert (given.text, given.value) == (text, UNSET)
    assert given.fault.startswith("a:1:")
