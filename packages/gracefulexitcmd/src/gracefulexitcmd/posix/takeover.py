"""Lets the supervisor read the worker's pipes after the worker was killed: else SIGPIPE would end their writers.

When the worker makes a pipe, it sends the supervisor two copies: of the read end, and of the descriptor that the bytes
go to. While the worker lives, only the worker reads.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import threading
from array import array

from gracefulexitcmd.posix.output import CHUNK, move, ready

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_MESSAGE = 1 << 13
"""Bytes of one message: the number of new copies, and the numbers of copies that are no longer needed."""

MOST_WITHDRAWN = 512
"""Withdrawn numbers that wait for the next message at most."""

UNREAD = 16
"""Messages after which the supervisor is woken to receive them: a wake-up for each message would slow every step.

When the worker is killed, the supervisor receives the rest. Descriptors in flight count against RLIMIT_NOFILE, unix(7).
"""

LAST_BYTES = 1 << 20
"""Bytes read from a pipe at the end: the most that an unprivileged user can have in it, pipe(7)."""


PATIENCE = 1.0
"""Seconds that a slow reader gets at the end if this program was asked to stop."""


class Offers:
    """The worker's side: gives copies to the supervisor. No method blocks, even if the supervisor is stopped."""

    def __init__(self, supervisor: socket.socket, bell: int) -> None:
        self._supervisor = supervisor
        self._bell = bell
        self._unread = 0
        self._numbers = itertools.count(1)
        self._withdrawn: list[int] = []

    def forget(self) -> None:
        """Close this side's socket, in the supervisor."""
        self._supervisor.close()

    def offer(self, source: int, destination: int) -> int:
        """Send copies of a pipe's read end and of its bytes' destination; return the number for `withdraw`."""
        number = next(self._numbers)
        self._send(number, (source, destination))
        return number

    def withdraw(self, number: int) -> None:
        """Have the supervisor close its copies with the next message: one message for each step is enough."""
        self._withdrawn.append(number)
        if len(self._withdrawn) >= MOST_WITHDRAWN:
            self.flush()

    def flush(self) -> None:
        """Have the supervisor receive all messages now."""
        if self._withdrawn:
            self._send(0, ())
        self._ring()

    def _send(self, number: int, descriptors: tuple[int, ...]) -> None:
        message = array("Q", (number, *self._withdrawn[:MOST_WITHDRAWN])).tobytes()
        with contextlib.suppress(OSError):  # the supervisor is stopped and its queue is full, or it has ended
            socket.send_fds(self._supervisor, [message], descriptors, socket.MSG_DONTWAIT)
            del self._withdrawn[:MOST_WITHDRAWN]
            self._unread += 1
        if self._unread >= UNREAD:
            self._ring()

    def _ring(self) -> None:
        self._unread = 0
        os.eventfd_write(self._bell, 1)


offers: Offers | None = None
"""The offers of this process as a worker; None without a supervisor."""


def share(source: int, destination: int) -> int | None:
    """Have the supervisor go on reading a pipe if this process is killed, and write its bytes to `destination`.

    Return the number for `withdraw`; None without a supervisor.
    """
    return None if offers is None else offers.offer(source, destination)


def withdraw(number: int | None) -> None:
    """Have the supervisor close its copies of a pipe, soon or when `flush` is called."""
    if offers is not None and number is not None:
        offers.withdraw(number)


def flush() -> None:
    """Have the supervisor close withdrawn copies now: until then a writer blocks instead of getting SIGPIPE."""
    if offers is not None:
        offers.flush()


class Copies:
    """The supervisor's side: keeps its copies, and moves their bytes when the worker has ended."""

    def __init__(self, worker: socket.socket, bell: int) -> None:
        self._worker = worker
        self._bell = bell
        self._pairs: dict[int, tuple[int, int]] = {}
        self._over = threading.Event()
        self._patient = True

    def forget(self) -> None:
        """Close this side's socket, in the worker."""
        self._worker.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable when there are messages."""
        return self._bell

    def receive(self) -> None:
        """Receive all that the worker has sent."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        while self._receive():
            """Go on, as there may be more messages."""

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
        """Move bytes from the pipes to their destinations while the block runs, and the rest at its end."""
        self.receive()
        if not self._pairs:
            yield
            return
        stop_reader, stop_writer = os.pipe()
        # The thread is a daemon, so that its wait for a slow reader does not delay the end of the program.
        threading.Thread(target=self._read, args=(stop_reader,), daemon=True).start()
        try:
            yield
        finally:
            os.close(stop_writer)
            while not self._over.wait(PATIENCE) and self._patient:
                """Wait on for a slow reader, until `abandon` is called."""

    def abandon(self) -> None:
        """Wait at most about PATIENCE seconds at the end for a slow reader of the steps' output."""
        self._patient = False

    def _read(self, stop: int) -> None:
        poll = select.poll()
        poll.register(stop, 0)  # POLLHUP is reported without being requested, poll(2)
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
                if not ready(source, select.POLLIN, 0) or not _pass_on(source, destination):
                    break
        self._over.set()


def pair() -> tuple[Copies, Offers]:
    """Make both sides before the fork; afterwards each process calls `forget` of the other's side."""
    to_worker, to_supervisor = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    return Copies(to_worker, bell), Offers(to_supervisor, bell)


def _pass_on(source: int, destination: int) -> bool:
    """Move a chunk, or discard it if it cannot be written; return False at the end of the pipe."""
    try:
        return move(source, destination, CHUNK) > 0
    except BlockingIOError:  # another process may have made the destination non-blocking
        ready(destination, select.POLLOUT)
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


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
