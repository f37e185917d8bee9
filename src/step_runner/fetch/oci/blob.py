"""The bytes of a blob as they come from a registry, of the size and with the digest that were promised."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

from urllib3.exceptions import HTTPError

from step_runner.fetch.messages import AnswerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from step_runner.fetch.http import Response
    from step_runner.fetch.oci.manifest import Descriptor
    from step_runner.proc import Proc

PIECE = 1 << 20
"""Bytes that are read at once at most."""

_MOST_BREAKS = 3


class Blob(io.RawIOBase):
    """A stream to be read once; where the connection breaks, it goes on from there over a new one.

    Reading raises AnswerError where size or digest is not what was promised, HTTPError where there is no answer, and
    StoppedError.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        open_at: Callable[[str, int], Response],
        proc: Proc,
        received: Callable[[int], None],
    ) -> None:
        """`open_at` asks for the blob with a digest from an offset on; the answer may begin at 0 all the same.

        `received` is told how many bytes have come each time.
        """
        self._digest = descriptor.digest
        self._size = descriptor.size
        self._open_at = open_at
        self._proc = proc
        self._received = received
        self._hash = hashlib.new(descriptor.digest.partition(":")[0])
        self._offset = 0
        self._breaks = 0
        self._response: Response | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most 1 MiB and none at the end; all that are left where no size is given."""
        if size < 0:
            return b"".join(iter(lambda: self.read(PIECE), b""))
        size = min(size, self._size - self._offset, PIECE)
        if not size:
            return b""
        piece = self._read(size)
        self._hash.update(piece)
        self._offset += len(piece)
        self._received(len(piece))
        if self._offset == self._size:
            self.check()
        return piece

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer with the next bytes and return how many they are, 0 at the end."""
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def drain(self) -> None:
        """Read what is left, so that all of it is checked."""
        while self.read(PIECE):
            pass
        self.check()

    def check(self) -> None:
        """Compare what was read with the digest. AnswerError: it is something else."""
        algorithm, _, promised = self._digest.partition(":")
        if self._hash.hexdigest() != promised:
            raise AnswerError(f"the registry sent a blob with another {algorithm} digest; push the image again")

    def close(self) -> None:
        """Give the connection back."""
        self._leave()
        super().close()

    def _leave(self) -> None:
        if self._response:
            self._response.close()
            self._response = None

    def _read(self, size: int) -> bytes:
        while True:
            self._proc.check()
            self._response = self._response or self._reopened()
            try:
                piece = self._response.read_some(size)
            except HTTPError:
                self._proc.check()
                self._breaks += 1
                if self._breaks == _MOST_BREAKS:
                    raise
                self._leave()
                continue
            if not piece:
                raise AnswerError("the registry sent a blob that is shorter than was promised; push the image again")
            return piece

    def _reopened(self) -> Response:
        """The answer, whose next byte is the one at the offset."""
        response = self._open_at(self._digest, self._offset)
        skip = self._offset if response.status == 200 else 0
        while skip:
            piece = response.read_some(min(skip, PIECE))
            if not piece:
                raise AnswerError("the registry sent a blob that is shorter than before; try again later")
            skip -= len(piece)
        return response
