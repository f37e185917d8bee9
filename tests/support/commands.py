"""Helpers of the tests of commands: fixed arguments, and threads that are joined."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gracefulexitcmd import Exit
    from gracefulexitcmd.cmd import BaseCmd

    Launch = Callable[..., tuple[BaseCmd, str]]
    Start = Callable[..., BaseCmd]
    Wait = Callable[[BaseCmd], Exit]
    Program = Callable[..., list[str]]

on_every_path = pytest.mark.usefixtures("path")

FOREVER = ["sleep", "1000"]


@contextlib.contextmanager
def thread_running(function: Callable[[], object]) -> Any:
    """Run a function in a thread, which has ended when the block has."""
    thread = threading.Thread(target=function)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def join_waiting_threads() -> None:
    """Wait for the threads that wait for a process where there are no pidfds."""
    for thread in threading.enumerate():
        if thread.name.startswith("wait for"):
            thread.join()
