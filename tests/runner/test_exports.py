"""Environments of earlier steps, which share their common parts."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from step_runner.runner.environment import merged
from step_runner.runner.exec_space import needed
from step_runner.runner.exports import Exports, Recorded

NAMES = st.sampled_from("ABCDE")
VARIABLES = st.dictionaries(NAMES, st.text("xyz", max_size=2), max_size=4)


@given(VARIABLES, st.lists(st.tuples(VARIABLES, VARIABLES), max_size=6))
def test_recorded_environment_never_changes(
    env: dict[str, str], steps: list[tuple[dict[str, str], dict[str, str]]]
) -> None:
    """A record keeps the environment of its step, in the same order, whatever later steps export."""
    exports, expected, recorded = Exports(), [], []
    before: dict[str, str] = {}
    for own, exported in steps:
        recorded.append(Recorded(env, exports, own))
        expected.append(merged(env, before, own))
        exports.add(exported, "step")
        before = merged(before, exported)
    assert [list(each.items()) for each in recorded] == [list(each.items()) for each in expected]
    assert [len(each) for each in recorded] == [len(each) for each in expected]


@given(VARIABLES, VARIABLES, VARIABLES)
def test_total_size_counts_each_variable_once(
    env: dict[str, str], exported: dict[str, str], added: dict[str, str]
) -> None:
    exports = Exports()
    exports.add(dict.fromkeys(exported, "longer"), "first")
    exports.add(exported, "second")
    whole = merged(env, exported, added)
    assert exports.total(env, added) == sum(needed(name, value) for name, value in whole.items())


def test_memory_of_records_grows_only_with_exports() -> None:
    """Twice as many exporting steps take about twice the memory, not four times."""
    assert _memory(800) < 3 * _memory(400)


def _memory(steps: int) -> int:
    tracemalloc.start()
    try:
        exports, recorded = Exports(), []
        for number in range(steps):
            recorded.append(Recorded({"PATH": "/bin"}, exports, {}))
            exports.add({f"V{number}": "x"}, "step")
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
