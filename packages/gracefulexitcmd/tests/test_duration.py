"""Durations in the notation of people."""

from __future__ import annotations

import pytest

from gracefulexitcmd.duration import seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0.0),
        ("30", 30.0),
        ("1.5", 1.5),
        ("2.", 2.0),
        (".5", 0.5),
        (" 5s ", 5.0),
        ("500ms", 0.5),
        (".5s", 0.5),
        ("30s", 30.0),
        ("1m", 60.0),
        ("1m30s", 90.0),
        ("1h2m3s4ms", 3723.004),
        ("1.5h", 5400.0),
    ],
)
def test_duration_is_in_seconds(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    ["", " ", "s", ".", "-1", "+1", "1 s", "1d", "30 seconds", "1m30", "1s1", "nan", "inf", "1e3", "٣", "9" * 400],
)
def test_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write for example 30s"):
        seconds(text)
