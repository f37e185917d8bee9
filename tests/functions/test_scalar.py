"""The meaning of YAML values without quotes."""

from __future__ import annotations

import pytest

from step_runner.functions.scalar import scalar_value


@pytest.mark.parametrize("text", ["true", "True", "TRUE"])
def test_scalar_is_true_in_each_case_of_yaml(text: str) -> None:
    assert scalar_value(text) is True


@pytest.mark.parametrize("text", ["false", "False", "FALSE"])
def test_scalar_is_false_in_each_case_of_yaml(text: str) -> None:
    assert scalar_value(text) is False


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL"])
def test_scalar_is_null_in_each_form(text: str) -> None:
    assert scalar_value(text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("-0", 0),
        ("+12", 12),
        ("010", 8),
        ("-010", -8),
        ("08", 8),
        ("0o17", 15),
        ("0x10", 16),
        ("0x_1F", 31),
        ("0b11", 3),
        ("1_000", 1000),
        ("1e3", 1000),
        ("1.5e3", 1500),
        ("2E-4", 0.0002),
        ("2.50", 2.5),
        (".5", 0.5),
        ("-.5", -0.5),
        ("1.", 1),
        ("9007199254740993", 9007199254740992),
        ("12345678901234567890123", 1.2345678901234568e22),
        ("01777777777777777777777", 2**64),
        ("0777777777777777777777777", 777777777777777777777777.0),
        ("-0777777777777777777777777", -777777777777777777777777.0),
        ("0xFFFFFFFFFFFFFFFF", 2**64),
        ("-0x8000000000000000", -(2**63)),
    ],
)
def test_numbers_are_doubles(text: str, number: float) -> None:
    value = scalar_value(text)

    assert value == number
    assert not isinstance(value, bool | str)


@pytest.mark.parametrize(
    "text",
    [
        "0xFFFFFFFFFFFFFFFFFF",
        "0x10000000000000000",
        "-0x8000000000000001",
        "0b1" + "0" * 64,
        "0o2000000000000000000000",
    ],
)
def test_marked_integer_beyond_64_bits_is_a_string(text: str) -> None:
    """Only decimal numbers and octal numbers without a letter may be larger: they become floating point numbers."""
    assert scalar_value(text) == text


@pytest.mark.parametrize("text", ["1e3", "1.0", "010"])
def test_whole_numbers_are_integers(text: str) -> None:
    assert type(scalar_value(text)) is int


@pytest.mark.parametrize(
    "text",
    [
        *("yes", "no", "on", "off", "y", "n", "tRUE", "1:30", "2024-01-01", "2024-01-01T10:00:00Z", "-", "+", "."),
        *("--1", "1e", "0x", "0o8", "1.2.3", ".inf", "-.inf", ".nan", "1e999", "v1", "9" * 401, "0x" + "f" * 300),
    ],
)
def test_other_scalar_is_a_string(text: str) -> None:
    assert scalar_value(text) == text
