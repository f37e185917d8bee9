"""Plain and secret values, and their texts."""

from __future__ import annotations

import copy
import pickle
from types import MappingProxyType

import pytest

from step_runner.errors import ExpressionError
from step_runner.expression import Secret, is_secret, reveal
from step_runner.expression.values import text_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", "a\nb"),
        (None, "<null>"),
        (True, "true"),
        (False, "false"),
        (42, "42"),
        (42.0, "42"),
        (-0.0, "0"),
        (3.14, "3.14"),
        (-1.5, "-1.5"),
        (1e-6, "0.000001"),
        (-1.5e-6, "-0.0000015"),
        (1e-7, "1e-7"),
        (1e16, "10000000000000000"),
        (-1.25e17, "-125000000000000000"),
        (12345678901234567890, "12345678901234567000"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (-1.5e300, "-1.5e+300"),
        (5e-324, "5e-324"),
        (["Alice", "Carol"], '["Alice", "Carol"]'),
        ([], "[]"),
        ({}, "{}"),
        ({"b": [1.0, None], "a": {"<&>": 'ü"\n\x00'}}, '{"b": [1, null], "a": {"<&>": "ü\\"\\n\\u0000"}}'),
        ((1, MappingProxyType({"a": 1})), '[1, {"a": 1}]'),
        ([Secret("x")], '["x"]'),
    ],
    ids=repr,
)
def test_value_converts_to_text(value: object, text: str) -> None:
    assert text_of(reveal(value)) == text


def test_object_without_json_form_is_refused() -> None:
    with pytest.raises(ExpressionError, match="a value of the type object cannot be used"):
        reveal(object())


def test_secret_hides_its_value() -> None:
    secret = Secret("hunter2")

    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"


def test_secret_is_immutable() -> None:
    secret = Secret("hunter2")

    with pytest.raises(AttributeError):
        secret.value = "x"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del secret.value


def test_secrets_are_equal_if_their_values_are() -> None:
    assert Secret(["a"]) == Secret(["a"])
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"  # type: ignore[comparison-overlap]
    assert len({Secret("a"), Secret("a")}) == 1


def test_secret_can_be_copied() -> None:
    secret = Secret(["a"])

    assert copy.deepcopy(secret) == secret
    assert pickle.loads(pickle.dumps(secret)) == secret


def test_reveal_finds_secrets_at_any_depth() -> None:
    value = {"a": [Secret({"b": 1}), "c"], "d": Secret(None)}

    assert is_secret(value)
    assert reveal(value) == {"a": [{"b": 1}, "c"], "d": None}


@pytest.mark.parametrize("value", [None, "a", 1, [], {"a": [1]}])
def test_plain_values_are_not_secret(value: object) -> None:
    assert not is_secret(value)
    assert reveal(value) == value
