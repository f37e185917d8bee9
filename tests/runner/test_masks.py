"""Texts that are hidden in messages."""

from __future__ import annotations

import pytest

from step_runner.expression import Secret
from step_runner.runner.masks import Masks


@pytest.mark.parametrize(
    ("values", "hidden"),
    [
        ([Secret("hunter2")], "a *** b 4711 true"),
        (["hunter2"], "a hunter2 b 4711 true"),
        ([Secret(4711)], "a hunter2 b *** true"),
        ([Secret(True)], "a hunter2 b 4711 true"),
        ([Secret({"k": ["hunter2", 4711]})], "a *** b *** true"),
        ([{"k": [Secret("hunter2")]}], "a *** b 4711 true"),
        ([Secret("a"), Secret("")], "a hunter2 b 4711 true"),
    ],
    ids=str,
)
def test_secret_is_hidden_anywhere_in_a_value(values: list[object], hidden: str) -> None:
    masks = Masks()
    masks.add(values)  # type: ignore[arg-type]
    assert masks.hidden("a hunter2 b 4711 true") == hidden


def test_longer_secret_is_hidden_as_a_whole() -> None:
    assert Masks(["hunter", "hunter2"]).hidden("hunter2 hunter") == "*** ***"


def test_each_line_of_a_secret_is_hidden() -> None:
    assert Masks(["first\nsecond\n"]).hidden("line: second") == "line: ***"
