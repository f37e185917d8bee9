"""Values and named tuples behave like those of the standard library, but cost less."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from gracefulexitcmd import Cause, Exit, Holder
from gracefulexitcmd.typed import NamedTuple

ENDED = Exit(Cause.EXITED, 0, 1.5, stdout=b"out", argv=("true",))


def test_exits_with_same_values_are_equal() -> None:
    """Values with equal fields are equal, and can be members of sets."""
    same = Exit(cause=Cause.EXITED, returncode=0, duration=1.5, stdout=b"out", argv=("true",))
    assert {ENDED, same} == {ENDED}
    assert same.replace(returncode=1) != ENDED
    assert ENDED != (Cause.EXITED, 0, 1.5)


def test_exit_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(ENDED)) == ENDED


def test_exit_is_immutable() -> None:
    """`replace` returns a new value."""
    with pytest.raises(AttributeError, match="Exit cannot be changed: take what replace"):
        ENDED.forced = True  # type: ignore[misc]
    with pytest.raises(AttributeError, match="cannot be changed"):
        del ENDED.stdout
    assert ENDED.replace(forced=True).forced


@pytest.mark.parametrize(
    ("values", "named"),
    [((7,), {}), ((7, (), 8), {}), ((7, ()), {"pid": 8}), ((7, ()), {"name": "x"})],
    ids=["one missing", "one too many", "one twice", "one unknown"],
)
def test_value_takes_each_field_once(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="Holder takes pid, argv, each once"):
        Holder(*values, **named)


def test_value_shows_its_fields() -> None:
    assert repr(Holder(7, ("cat",))) == "Holder(pid=7, argv=('cat',))"


class Point(NamedTuple):
    """A named tuple with a default and a method."""

    x: int
    y: int = 2

    def sum(self) -> int:
        return self.x + self.y


def test_named_tuple_equals_that_of_typing() -> None:
    """Fields, defaults, methods, `_replace` and pickling are the same."""
    point = Point(1)
    assert tuple(point) == (1, 2)
    assert repr(point._replace(y=3)) == "Point(x=1, y=3)"
    assert point.sum() == 3
    assert pickle.loads(pickle.dumps(point)) == point
    with pytest.raises(AttributeError):
        point.z = 4  # type: ignore[attr-defined]
