"""The exports of a job's steps, and the environments that follow from them."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections import ChainMap
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple, TypeVar, cast

from step_runner.runner import exec_space
from step_runner.runner.environment import merged

V = TypeVar("V")


class Export(NamedTuple):
    """A value of a variable, its moment, which is the number of values exported before it, and the step's name."""

    moment: int
    value: str
    step: str


class Exports:
    """The exported variables, each with all its values: the environments of earlier steps share them."""

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}
        """The newest values."""
        self.values: dict[str, list[Export]] = {}
        self.moment = 0
        self._bytes = 0

    def add(self, variables: Mapping[str, str], step: str) -> None:
        """Add the exports of a step."""
        for name, value in variables.items():
            self._bytes += exec_space.needed(name, value) - self._size_of(name)
            self.variables[name] = value
            self.values.setdefault(name, []).append(Export(self.moment, value, step))
            self.moment += 1

    def total(self, env: Mapping[str, str], added: Mapping[str, str]) -> int:
        """Return the size in bytes of the environment `env` with these exports and those in `added`."""
        below = sum(
            exec_space.needed(*each) for each in env.items() if each[0] not in self.variables and each[0] not in added
        )
        return below + self._bytes + sum(exec_space.needed(*each) - self._size_of(each[0]) for each in added.items())

    def over(self, env: Mapping[str, V], own: Mapping[str, V]) -> Mapping[str, V | str]:
        """Return the current environment: `env`, then the exports, then a step's `own` variables.

        It follows later exports.
        """
        if sys.platform == "win32":  # Windows: Path and PATH are one variable
            return merged(env, self.variables, own)
        return ChainMap(*cast("tuple[dict[str, V | str], ...]", (own, self.variables, env)))

    def current(self, env: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
        """Return the same environment as it is now; to copy the mapping that `over` returns takes ten times longer."""
        return {**env, **self.variables, **own} if sys.platform != "win32" else merged(env, self.variables, own)

    def _size_of(self, name: str) -> int:
        return exec_space.needed(name, self.variables[name]) if name in self.variables else 0


class Recorded(Mapping[str, str]):
    """The environment as it is now, unchanged by later exports. It shares its parts with others until it is read."""

    def __init__(self, env: Mapping[str, str], exports: Exports, own: Mapping[str, str]) -> None:
        self._parts = env, exports.values, exports.moment, own

    @cached_property
    def _whole(self) -> dict[str, str]:
        env, values, moment, own = self._parts
        numbers = ((name, bisect_left(values[name], (moment,))) for name in values)
        return merged(env, {name: values[name][number - 1].value for name, number in numbers if number}, own)

    def __getitem__(self, name: str) -> str:
        return self._whole[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole)

    def __len__(self) -> int:
        return len(self._whole)
