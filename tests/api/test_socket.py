"""The path of a server's socket, and conflicts with other servers."""

from __future__ import annotations

import contextlib
import os
import socket as sockets
from typing import TYPE_CHECKING

import pytest

from step_runner.api import socket
from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def bind() -> Iterator[Callable[[str], None]]:
    """Yield a function that makes a listening socket."""
    with contextlib.ExitStack() as made:

        def bind(path: str) -> None:
            server = made.enter_context(sockets.socket(sockets.AF_UNIX))
            server.bind(path)
            server.listen()

        yield bind


@pytest.mark.parametrize("name", ["s", "x" * 20])
def test_longest_socket_path_is_accepted(temporary: str, bind: Callable[[str], None], name: str) -> None:
    directory = f"{temporary}/{'d' * (socket.LONGEST_PATH - len(temporary) - len(name) - 2)}"
    os.mkdir(directory)
    path = f"{directory}/{name}"
    assert len(path) == socket.LONGEST_PATH
    with socket.placed(path, bind):
        assert socket.is_listening(path)
        assert os.listdir(directory) == [name]
    assert os.listdir(directory) == []


def test_simultaneous_start_refuses_one_of_two_servers(temporary: str, bind: Callable[[str], None]) -> None:
    path = f"{temporary}/s.sock"

    def bind_too_late(made: str) -> None:
        bind(path)
        bind(made)

    with (
        pytest.raises(StepRunnerError, match="address already in use: another server listens there"),
        socket.placed(path, bind_too_late),
    ):
        pass
    assert os.listdir(temporary) == ["s.sock"]
    assert socket.is_listening(path)
