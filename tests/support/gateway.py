"""Reaches a server through its proxies."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable

Start = Callable[[int], "subprocess.Popen[bytes]"]
"""Starts a proxy whose stdin and stdout are this descriptor."""


class Gateway:
    """A socket that connects each client to the stdin and stdout of a new proxy, as GitLab Runner does."""

    def __init__(self, path: str, start: Start) -> None:
        self._start = start
        self.proxies: list[subprocess.Popen[bytes]] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    self.proxies.append(self._start(connection.fileno()))

    def close(self) -> list[int]:
        """Stop accepting connections, and return the exit status of each proxy."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        return [proxy.wait() for proxy in self.proxies]


def starting(*command: str) -> Start:
    """Return a function that starts this command as a proxy."""
    return lambda end: subprocess.Popen(command, stdin=end, stdout=end)
