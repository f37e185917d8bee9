"""The bytes of a blob as they come from a registry, of the size and with the digest that were promised."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Callable

    from step_runner.fetch.cancellation import Cancellation
    from step_runner.fetch.image import Descriptor
    from step_runner.fetch.transport import Response

PIECE = 1 << 20
"""Bytes that are read at once at most."""

_MOST_BREAKS = 3


class BlobError(Exception):
    """An answer of the registry that is not what was asked for, and why."""


class Blob:
    """A stream to be read once; where the connection breaks, it goes on from there over a new one."""

    def __init__(
        self, descriptor: Descriptor, open_at: Callable[[str, int], Response], cancellation: Cancellation
    ) -> None:
        """`open_at` asks for the blob with a digest from an offset on; the answer may begin at 0 all the same."""
        self._digest = descriptor.digest
        self._size = descriptor.size
        self._open_at = open_at
        self._cancellation = cancellation
        self._hash = hashlib.new(descriptor.digest.partition(":")[0])
        self._offset = 0
        self._breaks = 0
        self._response: Response | None = None

    def read(self, size: int = PIECE) -> bytes:
        """The next bytes, none at the end. BlobError: size or digest is not what was promised. HTTPError: no answer."""
        if self._offset == self._size:
            return b""
        piece = self._read(min(size, PIECE, self._size - self._offset) if size >= 0 else PIECE)
        self._hash.update(piece)
        self._offset += len(piece)
        if self._offset == self._size:
            self._check()
        return piece

    def drain(self) -> None:
        """Read what is left, so that all of it is checked."""
        while self.read():
            pass
        if not self._size:
            self._check()

    def close(self) -> None:
        """Give the connection back."""
        if self._response:
            self._response.close()
            self._response = None

    def _check(self) -> None:
        algorithm, _, promised = self._digest.partition(":")
        if self._hash.hexdigest() != promised:
            raise BlobError(f"the registry sent a blob with another {algorithm} digest; push the image again")

    def _read(self, size: int) -> bytes:
        while True:
            self._cancellation.check()
            try:
                response = self._response = self._response or self._reopened()
                piece: bytes = response.http.read(size, decode_content=False)
                if piece:
                    return piece
                raise BlobError("the registry sent a blob that is shorter than its manifest says; push the image again")
            except HTTPError:
                self._cancellation.check()
                self._breaks += 1
                if self._breaks == _MOST_BREAKS:
                    raise
                self.close()

    def _reopened(self) -> Response:
        """The answer, whose next byte is the one at the offset."""
        response = self._open_at(self._digest, self._offset)
        skip = self._offset if response.status == 200 else 0
        while skip:
            piece = response.http.read(min(skip, PIECE), decode_content=False)
            if not piece:
                raise BlobError("the registry sent a blob that is shorter than before; try again later")
            skip -= len(piece)
        return response
