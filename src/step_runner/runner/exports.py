"""The exports of a job's steps, and the environments that follow from them."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeVar, cast

from step_runner.runner import exec_space
from step_runner.runner.environment import merged

V = TypeVar("V")


class Export(NamedTuple):
    """A value of a variable, and its moment: the number of values exported before it."""

    moment: int
    value: str


class Exports:
    """The exported variables, each with all its values: the environments of earlier steps share them."""

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}
        """The newest values."""
        self.step_of: dict[str, str] = {}
        """The name of the step that last exported each variable."""
        self.values: dict[str, list[Export]] = {}
        self.moment = 0
        self._bytes = 0

    def add(self, variables: Mapping[str, str], step: str) -> None:
        """Add the exports of a step."""
        for name, value in variables.items():
            self._bytes += exec_space.needed(name, value) - self._size_of(name)
            self.variables[name] = value
            self.step_of[name] = step
            self.values.setdefault(name, []).append(Export(self.moment, value))
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

    def recorded(self, env: Mapping[str, str], own: Mapping[str, str]) -> Mapping[str, str]:
        """Return the environment as it is now, unchanged by later exports."""
        if sys.platform == "win32":
            return merged(env, self.variables, own)
        return Recorded(env, self, self.moment, own)

    def _size_of(self, name: str) -> int:
        return exec_space.needed(name, self.variables[name]) if name in self.variables else 0


class Recorded(Mapping[str, str]):
    """The environment at one moment. It shares its common parts with the environments of other moments."""

    __slots__ = ("_env", "_exports", "_moment", "_own")

    def __init__(self, env: Mapping[str, str], exports: Exports, moment: int, own: Mapping[str, str]) -> None:
        self._env = env
        self._exports = exports
        self._moment = moment
        self._own = own

    def __getitem__(self, name: str) -> str:
        if name in self._own:
            return self._own[name]
        values = self._exports.values.get(name, ())
        before = bisect_left(values, (self._moment,))
        return values[before - 1].value if before else self._env[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._env
        for name in self._exports.values:
            if self._exports.values[name][0].moment >= self._moment:
                break  # in the order of their first export
            if name not in self._env:
                yield name
        yield from (name for name in self._own if name not in self._env and not self._was_exported(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _was_exported(self, name: str) -> bool:
        return name in self._exports.values and self._exports.values[name][0].moment < self._moment
