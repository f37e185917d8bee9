"""Pipes that the front reads on when the worker is killed: else SIGPIPE would end what writes to them.

The worker sends copies of each read end, and of where its bytes go, when it makes the pipe. Only the worker reads as
long as it lives.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import threading
from array import array
from typing import TYPE_CHECKING

from gracefulexitcmd.posix.output import CHUNK, move

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_MESSAGE = 1 << 13
"""Bytes in one message: a number, and those of the copies that are not needed any more."""

MOST_WITHDRAWN = 512
"""Numbers that are held back for the next message."""

UNREAD = 16
"""Messages after which the front is woken to take them: for each one that would cost every step its time.

What it has not taken when the worker is killed, it takes then. Descriptors on their way count against RLIMIT_NOFILE.
"""

LAST_BYTES = 1 << 20
"""Bytes taken out of a pipe in the end: as many as an ordinary user can have in it, pipe(7)."""


PATIENCE = 1.0
"""Seconds that a reader has in the end when this program was asked to stop."""


class Offers:
    """The worker's side: what the front has copies of. Nothing here waits, also not for a front that is stopped."""

    def __init__(self, front: socket.socket, bell: int) -> None:
        self._front = front
        self._bell = bell
        self._unread = 0
        self._numbers = itertools.count(1)
        self._withdrawn: list[int] = []

    def forget(self) -> None:
        """Close what the front does not need of this side."""
        self._front.close()

    def offer(self, source: int, destination: int) -> int:
        """Give the front copies of a pipe's read end and of where its bytes go; returns the number to withdraw it."""
        number = next(self._numbers)
        self._send(number, (source, destination))
        return number

    def withdraw(self, number: int) -> None:
        """Have the front close its copies, with the next message: a message for each step is enough."""
        self._withdrawn.append(number)
        if len(self._withdrawn) >= MOST_WITHDRAWN:
            self.flush()

    def flush(self) -> None:
        """Have the front take everything now."""
        if self._withdrawn:
            self._send(0, ())
        self._ring()

    def _send(self, number: int, descriptors: tuple[int, ...]) -> None:
        message = array("Q", (number, *self._withdrawn[:MOST_WITHDRAWN])).tobytes()
        with contextlib.suppress(OSError):  # the front is stopped and its queue is full, or it is gone
            socket.send_fds(self._front, [message], descriptors, socket.MSG_DONTWAIT)
            del self._withdrawn[:MOST_WITHDRAWN]
            self._unread += 1
        if self._unread >= UNREAD:
            self._ring()

    def _ring(self) -> None:
        self._unread = 0
        os.eventfd_write(self._bell, 1)


offers: Offers | None = None
"""Of the worker that this process is; None where there is no front."""


def share(source: int, destination: int) -> int | None:
    """Have the supervisor read a pipe on, should this process be killed: to where this descriptor writes.

    Returns the number to `withdraw` it by; None where no supervisor is there.
    """
    return None if offers is None else offers.offer(source, destination)


def withdraw(number: int | None) -> None:
    """Have the supervisor close its copies of a pipe; it does so soon, or when `flush` is called."""
    if offers is not None and number is not None:
        offers.withdraw(number)


def flush() -> None:
    """Have the supervisor close now what was withdrawn: until then its copies keep writers waiting."""
    if offers is not None:
        offers.flush()


class Copies:
    """The front's side: its copies, and what it does with them when the worker is gone."""

    def __init__(self, worker: socket.socket, bell: int) -> None:
        self._worker = worker
        self._bell = bell
        self._pairs: dict[int, tuple[int, int]] = {}
        self._over = threading.Event()
        self._patient = True

    def forget(self) -> None:
        """Close what the worker does not need of this side."""
        self._worker.close()

    def fileno(self) -> int:
        """The descriptor that is readable when there is something to take."""
        return self._bell

    def receive(self) -> None:
        """Take all that the worker has sent."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        while self._receive():
            """There may be more."""

    def _receive(self) -> bool:
        flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
        try:
            message, descriptors, _, _ = socket.recv_fds(self._worker, LONGEST_MESSAGE, 2, flags)
        except OSError:
            return False
        if not message:
            return False
        number, *withdrawn = memoryview(message).cast("Q")
        if len(descriptors) == 2:
            self._pairs[number] = (descriptors[0], descriptors[1])
        else:  # none, or no descriptor was free
            _close(*descriptors)
        for each in withdrawn:
            _close(*self._pairs.pop(each, ()))
        return True

    @contextlib.contextmanager
    def read_on(self) -> Iterator[None]:
        """While the block runs, move what comes out of the pipes to where it goes; at its end what is left in them."""
        self.receive()
        if not self._pairs:
            yield
            return
        stop_reader, stop_writer = os.pipe()
        # A thread that waits for a slow reader must not keep the program from its end.
        threading.Thread(target=self._read, args=(stop_reader,), daemon=True).start()
        try:
            yield
        finally:
            os.close(stop_writer)
            while not self._over.wait(PATIENCE) and self._patient:
                """Whoever reads is slow."""

    def abandon(self) -> None:
        """Wait in the end, for whoever reads what the steps print, no longer than PATIENCE."""
        self._patient = False

    def _read(self, stop: int) -> None:
        poll = select.poll()
        poll.register(stop, 0)  # reports the end of the other side unasked
        destinations = dict(self._pairs.values())
        for source in destinations:
            poll.register(source, select.POLLIN)
        stopped = False
        while not stopped:
            for descriptor, _ in poll.poll():
                if descriptor == stop:
                    stopped = True
                elif not _pass_on(descriptor, destinations[descriptor]):
                    poll.unregister(descriptor)
        for source, destination in destinations.items():
            for _ in range(LAST_BYTES // CHUNK):
                if not _waiting(source) or not _pass_on(source, destination):
                    break
        self._over.set()


def pair() -> tuple[Copies, Offers]:
    """Both sides, to be made before the fork. Each process closes what is the other's by `forget`."""
    to_worker, to_front = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    return Copies(to_worker, bell), Offers(to_front, bell)


def _pass_on(source: int, destination: int) -> bool:
    """Move a chunk, or lose it where it cannot be written; False at the end of the pipe."""
    try:
        return move(source, destination, CHUNK) > 0
    except BlockingIOError:  # whoever shares the destination may have made it non-blocking
        _wait_for_room(destination)
        return True
    except OSError:
        return _discard(source)


def _discard(source: int) -> bool:
    try:
        return len(os.read(source, CHUNK)) > 0
    except BlockingIOError:
        return True
    except OSError:  # EIO: the end of a pseudo-terminal
        return False


def _waiting(source: int) -> bool:
    poll = select.poll()
    poll.register(source, select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(0))


def _wait_for_room(destination: int) -> None:
    poll = select.poll()
    poll.register(destination, select.POLLOUT)
    poll.poll()


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
