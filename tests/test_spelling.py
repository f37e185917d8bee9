"""Which known word is proposed for one that is not."""

from __future__ import annotations

import pytest

from step_runner.spelling import meant, nearest


@pytest.mark.parametrize(
    ("word", "proposed"),
    [("scirpt", "script"), ("SCRIPT", "script"), ("workdir", "work_Dir"), ("xyz", None), ("", None), ("s" * 101, None)],
)
def test_nearest_is_like_the_word_in_any_case(word: str, proposed: str | None) -> None:
    assert nearest(word, ["func", "script", "work_Dir"]) == proposed


def test_nearest_compares_a_bounded_number_of_words() -> None:
    """A file may name as many as it likes."""
    assert nearest("script", [*(f"a{number}" for number in range(500)), "script"]) is None


def test_meant_lists_all_words_without_a_near_one() -> None:
    assert meant("x", ["func", "script", "func", ""]) == "; known: func, script"
    assert meant("x", []) == ""
