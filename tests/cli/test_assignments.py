"""`KEY=VALUE` arguments."""

from __future__ import annotations

import click
import pytest

from step_runner.cli.assignments import assignments


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
