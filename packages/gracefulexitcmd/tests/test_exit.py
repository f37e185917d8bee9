"""What is said of processes."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from gracefulexitcmd.exit import Cause, EndedProcess, Exit, Holder
from gracefulexitcmd.named_tuple import NamedTuple


@pytest.mark.parametrize(
    ("argv", "program", "command"),
    [
        (("/bin/sleep", "a b"), "sleep", "/bin/sleep 'a b'"),
        (("evil\nEnded 1 process\x1b[31m", "\x07"), "evil\\nEnded 1 process\\x1b[31m", None),
        (("\udcff ü",), "\\udcff ü", "'\\udcff ü'"),
        ((), "unknown", ""),
    ],
    ids=["usual", "commands to a terminal", "no text", "gone too soon"],
)
def test_a_process_is_named_on_one_line_that_commands_no_terminal(
    argv: tuple[str, ...], program: str, command: str | None
) -> None:
    """It may call itself anything."""
    ended = EndedProcess(7, argv, "group", "SIGKILL")
    assert ended.program == program
    assert ended.command == Holder(7, argv).command
    assert ended.command.isprintable()
    assert command in (None, ended.command)


ENDED = Exit(Cause.EXITED, 0, 1.5, stdout=b"out", argv=("true",))


def test_exit_is_equal_to_one_with_the_same_values() -> None:
    """Values compare by what they hold, and can be members of sets."""
    same = Exit(cause=Cause.EXITED, returncode=0, duration=1.5, stdout=b"out", argv=("true",))
    assert {ENDED, same} == {ENDED}
    assert same.replace(returncode=1) != ENDED
    assert ENDED != (Cause.EXITED, 0, 1.5)


def test_exit_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(ENDED)) == ENDED


def test_exit_cannot_be_changed() -> None:
    """`replace` returns another one."""
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
def test_value_takes_each_of_its_fields_once(values: tuple[Any, ...], named: dict[str, Any]) -> None:
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


def test_named_tuple_is_that_of_typing() -> None:
    """Fields, defaults, methods, `_replace` and pickling are the same."""
    point = Point(1)
    assert tuple(point) == (1, 2)
    assert repr(point._replace(y=3)) == "Point(x=1, y=3)"
    assert point.sum() == 3
    assert pickle.loads(pickle.dumps(point)) == point
    with pytest.raises(AttributeError):
        point.z = 4  # type: ignore[attr-defined]
