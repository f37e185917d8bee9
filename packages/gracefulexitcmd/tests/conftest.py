"""Both forms of a command, every combination of system calls, and a check for leftovers."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.isolation import base, no_process_left, temporary

from gracefulexitcmd import AsyncCmd, Cmd, Exit, run
from gracefulexitcmd.posix import process_group, process_table, subreaper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gracefulexitcmd.cmd import BaseCmd

__all__ = ["base", "no_process_left", "temporary"]

PROGRAMS = Path(__file__).parents[3] / "tests" / "programs"


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Check that a test has reaped all its children. Its orphans go to init, unless the test is a subreaper."""
    if sys.platform == "linux" and subreaper.active:
        ctypes.CDLL(None).prctl(subreaper.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        subreaper.active = False
    before = _zombie()
    yield
    assert _zombie() in (None, before)


def _zombie() -> int | None:
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if ended is None else ended.si_pid


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Restore the default handler of SIGINT: a shell ignores it in background processes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def descriptors() -> Callable[[], int]:
    """Return a function that counts the open descriptors of this process."""
    run(["true"])  # it opens one that stays open
    gc.collect()  # those of earlier tests must not close in between
    return lambda: len(os.listdir("/proc/self/fd"))


@pytest.fixture(params=["pidfd", "number and pidfd", "number", "number and ps"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Yield each way to wait and to signal: Linux 6.9, Linux 5.3, older Linux, other systems."""
    name: str = request.param
    if name == "number and pidfd":
        monkeypatch.setattr(process_group, "pidfd_signals_group", lambda _pidfd: False)
    monkeypatch.setattr(process_table, "portable", name in ("number", "number and ps"))
    monkeypatch.setattr(process_table, "has_proc", name != "number and ps")
    return name


@pytest.fixture(params=[Cmd, AsyncCmd], ids=["blocking", "asyncio"])
def kind(request: pytest.FixtureRequest) -> type[BaseCmd]:
    """Return the form of the command."""
    form: type[BaseCmd] = request.param
    return form


@pytest.fixture
def result(kind: type[BaseCmd]) -> Iterator[Callable[[Any], Any]]:
    """Return a function that returns the result of a method in either form."""
    if kind is Cmd:
        yield lambda value: value
        return
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def start(kind: type[BaseCmd], result: Callable[[Any], Any]) -> Callable[..., BaseCmd]:
    """Return a function that starts a command: `start(argv, **options)`."""

    def start(argv: list[str], **options: Any) -> BaseCmd:
        command: Any = kind(argv, **options)
        result(command.start())
        return command  # type: ignore[no-any-return]

    return start


@pytest.fixture
def wait(result: Callable[[Any], Any]) -> Callable[[BaseCmd], Exit]:
    """Return a function that waits for a command: `wait(command)`."""

    def wait(command: Any) -> Exit:
        ended: Exit = result(command.wait())
        return ended

    return wait


@pytest.fixture
def program() -> Callable[..., list[str]]:
    """Return a function that gives the argv of a misbehaving program: `program(name, *arguments)`."""

    def program(name: str, *arguments: str) -> list[str]:
        interpreter = ["sh"] if name.endswith(".sh") else [sys.executable, "-I", "-S"]
        return [*interpreter, str(PROGRAMS / name), *arguments]

    return program


@pytest.fixture
def launch(start: Callable[..., BaseCmd], program: Callable[..., list[str]]) -> Callable[..., tuple[BaseCmd, str]]:
    """Return a function that starts such a program and waits for its first line on stderr.

    Call it as `launch(name, *arguments, **options)`.
    """

    def launch(name: str, *arguments: str, **options: Any) -> tuple[BaseCmd, str]:
        reader, writer = os.pipe()
        try:
            command = start(program(name, *arguments), stderr=writer, **options)
        finally:
            os.close(writer)
        with open(reader, encoding="utf-8") as lines:
            return command, lines.readline().strip()

    return launch
