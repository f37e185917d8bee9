"""Measures a typical expression, from its text and from its tree, in microseconds."""

from __future__ import annotations

import argparse
import statistics
import timeit
from typing import TYPE_CHECKING

from step_runner.expression.evaluation import Scope, evaluate
from step_runner.expression.parser import parse
from step_runner.expression.template import Template

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = '${{ vars.CI_COMMIT_REF_NAME == "main" && "production" || "staging" }}'
NAMES = {"vars": {"CI_COMMIT_REF_NAME": "main"}}
LIMITS = {"from text": 60.0, "from tree": 8.0}


def measure(rounds: int, repetitions: int) -> dict[str, float]:
    """Return the median time of one evaluation over all rounds, in microseconds, without caches."""
    (tree,) = parse(TEXT)
    assert not isinstance(tree, str)
    cases: dict[str, Callable[[], object]] = {
        "from text": lambda: Template(TEXT).value(Scope(NAMES)),
        "from tree": lambda: evaluate(tree, Scope(NAMES)),
    }
    return {name: _median(case, rounds, repetitions) for name, case in cases.items()}


def _median(case: Callable[[], object], rounds: int, repetitions: int) -> float:
    times = timeit.repeat(case, repeat=rounds, number=repetitions)
    return statistics.median(times) / repetitions * 1e6


def main(arguments: list[str] | None = None) -> None:
    """Print both figures, and which one misses its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="take a tenth of the time")
    short = parser.parse_args(arguments).short
    figures = measure(rounds=25 if short else 100, repetitions=200 if short else 1_000)
    for name, figure in figures.items():
        verdict = "ok" if figure <= LIMITS[name] else "missed"
        print(f"{name}: {figure:5.1f} us (at most {LIMITS[name]:.0f}) {verdict}")


if __name__ == "__main__":
    main()
