"""The values that a command line gives to a function."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import UNSET

from step_runner.functions.call import typed_input

if TYPE_CHECKING:
    from step_runner.model import Value


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
    name, _, typed = text.partition("=")
    given = typed_input(name, typed)
    assert (given.text, given.value) == (typed, expected)


@pytest.mark.parametrize("text", ["[1", "a: b: c", "@x", "{a: 1, a: 2}"])
def test_typed_input_with_invalid_yaml_is_reported_late(text: str) -> None:
    """A string need not be YAML, so the fault is kept until another type is asked for."""
    given = typed_input("a", text)
    assert (given.text, given.value) == (text, UNSET)
    assert given.fault.startswith("a:1:")
