"""Texts of servers: the parts that messages show."""

from __future__ import annotations

import pytest

from step_runner.fetch.messages import one_line, struck_out


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n b\t\x1b[31mc\x07\x7f\x9b", "a b [31mc"),
        ("a\u202eb\u2028c\ud800d", "a b c d"),
        ("grün ✓", "grün ✓"),
        ("x" * 300, "x" * 200),
    ],
    ids=["terminal", "unicode", "letters", "long"],
)
def test_text_is_shown_on_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown


@pytest.mark.parametrize(
    ("text", "secrets", "shown"),
    [
        ("what it is", {""}, "what it is"),
        ("a*b", {"*", "b"}, "a******"),
        ("abc ab", {"ab", "abc"}, "*** ***"),
        ("ab/cd+ef== ab%2Fcd%2Bef%3D%3D ab/cd%2Bef%3D%3D ab%2fcd%2bef%3d%3d", {"ab/cd+ef=="}, "*** *** *** ***"),
        ("a b a+b a%20b", {"a b"}, "*** *** ***"),
        ("hunter2.example", {"HUNTER2"}, "***.example"),
    ],
    ids=["none", "stars", "one in another", "in a URL", "in a form", "in a host"],
)
def test_secrets_are_masked(text: str, secrets: set[str], shown: str) -> None:
    assert struck_out(text, secrets) == shown
