"""The arguments that a command accepts."""

from __future__ import annotations

import inspect
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from gracefulexitcmd import AsyncCmd, Cmd
from gracefulexitcmd.request import Request

if TYPE_CHECKING:
    from gracefulexitcmd.cmd import BaseCmd


@pytest.mark.parametrize("argv", ["make deploy", b"make deploy"], ids=["text", "bytes"])
def test_argv_is_a_list_of_words(kind: type[BaseCmd], argv: Any) -> None:
    with pytest.raises(
        TypeError, match=r'argv is a list of words, not a text; for a shell write \["sh", "-c", b?\'make'
    ):
        kind(argv)


@pytest.mark.parametrize("options", [{"grace": "10m"}, {"timeout": "10m"}, {"stop": [(signal.SIGINT, "10m")]}])
def test_time_that_is_not_a_number_is_named(kind: type[BaseCmd], options: dict[str, Any]) -> None:
    """Command lines take texts such as 10m."""
    with pytest.raises(TypeError, match="is '10m': it must be a number of seconds, 0 or more"):
        kind(["true"], **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grace": -1}, "grace is -1: it must be a number of seconds, 0 or more"),
        ({"grace": float("nan")}, "grace is nan: it must be a number of seconds, 0 or more"),
        ({"grace": float("inf")}, "grace is inf: it must be a number of seconds, 0 or more"),
        ({"timeout": -0.1}, "timeout is -0.1: it must be a number of seconds, 0 or more"),
        ({"timeout": float("inf")}, "timeout is inf: it must be a number of seconds, 0 or more"),
        ({"input": b"", "stdin": subprocess.DEVNULL}, "input and stdin cannot both be given"),
        ({"input": b"", "stdin": subprocess.PIPE}, "input and stdin cannot both be given"),
        ({"max_output": -1}, "max_output is -1"),
        ({"capture_output": True, "stderr": subprocess.STDOUT}, "capture_output sets stdout and stderr"),
        ({"stdout": subprocess.STDOUT}, "stdout cannot be STDOUT"),
        ({"stop_signal": 12345}, "12345 is not a valid Signals"),
        ({"stop": []}, "stop is empty: it needs at least one signal"),
        ({"stop": [(12345, 1)]}, "12345 is not a valid Signals"),
        ({"stop": [(signal.SIGTERM, -1)]}, "a wait of stop is -1: it must be a number of seconds, 0 or more"),
        ({"stop": [(signal.SIGTERM, 1, "nobody")]}, '"nobody" is not a valid target: write one of leader, mates'),
        ({"stop": [(signal.SIGTERM, 1, {"own"})]}, "\"{'own'}\" is not a valid target: write one of leader, mates"),
        ({"stop": [(signal.SIGTERM, 1), (signal.SIGKILL, 1)]}, "SIGKILL to all is always the last signal of stop"),
        ({"stop": [(signal.SIGSTOP, 1)]}, "SIGSTOP does not ask a process to end"),
        ({"stop": [(signal.SIGTERM, 1)], "stop_signal": signal.SIGINT}, "stop and stop_signal cannot both be given"),
    ],
)
def test_invalid_request_is_refused_at_once(kind: type[BaseCmd], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(["true"], **options)


def test_argv_needs_a_program() -> None:
    with pytest.raises(ValueError, match="argv is empty: it needs at least the program"):
        Cmd([])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input": b"", "encoding": "utf-8"}, "input is bytes, but the streams are text"),
        ({"input": ""}, "input is text, but the streams are bytes"),
    ],
)
def test_input_of_wrong_type_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Cmd(["true"], **options)


def test_zero_seconds_are_a_valid_time() -> None:
    request = Request(["true"], grace=0, timeout=0).check()
    assert (request.grace, request.timeout) == (0, 0)


def test_stop_signal_may_be_a_number() -> None:
    command = Cmd(["sleep", "1000"], stop_signal=2)  # type: ignore[call-overload]
    with command:
        command.cancel()
    assert command.exit is not None
    assert command.exit.signals[0].name == signal.SIGINT.name


def test_sync_and_async_take_same_arguments() -> None:
    assert inspect.signature(AsyncCmd) == inspect.signature(Cmd)
