"""Reads git packs directly from the disk, so that an object of any size takes little memory.

dulwich (1.2) reads each object whole: a file of 100 MiB takes 300 MiB of memory, and 200 MiB while a pack is indexed.

The format is that of gitformat-pack(5). The hash of each object is computed from its content, so an object found by
its hash is the right one. The checksum at the end of a pack proves nothing more.
"""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from collections import defaultdict
from functools import partial
from typing import IO, TYPE_CHECKING, NamedTuple, TypeAlias

from dulwich.object_format import SHA1, SHA256
from dulwich.objects import Commit, ShaFile

from step_runner.fetch.messages import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from step_runner.fetch.limits import Limits
    from step_runner.proc import Proc

_PIECE = 1 << 16  # bytes
_IN_MEMORY = 1 << 16  # bytes of the base of a delta; larger ones go to the disk
_LARGEST = 64 << 20  # bytes of a commit, tree or tag, which is read whole
_DEEPEST = 250  # deltas in a chain, each with an open file; git makes 50
_TOO_DEEP = f"it has more than {_DEEPEST} deltas on one another"
_MOST_OBJECTS = 1_000_000  # each takes about 300 bytes of memory
_MOST_SHIFTED = 63  # bits of a number
_TYPES = {1: b"commit", 2: b"tree", 3: b"blob", 4: b"tag"}
_BY_OFFSET, _BY_HASH = 6, 7
_FORMATS = {format_.hex_length: format_ for format_ in (SHA1, SHA256)}

_Base: TypeAlias = "int | bytes"


class PackError(RefusedError):
    """The reason why a pack is invalid."""

    def __str__(self) -> str:
        return f"the server sent an invalid pack: {super().__str__()}; try again later"


class _Entry(NamedTuple):
    """The entry of an object: its type, its inflated size, the offset of its data, and the base if it is a delta."""

    kind: int
    size: int
    data: int
    base: _Base | None = None


class Pack:
    """The objects of one pack, by their hash. Not thread-safe."""

    def __init__(
        self,
        file: IO[bytes],
        digits: int,
        proc: Proc,
        limits: Limits,
        find: Callable[[bytes], int] | None = None,
    ) -> None:
        """Use a pack with hashes of `digits` digits; `find` returns the offset of an object or raises KeyError.

        Without `find` the whole pack is read once for its index. Raise PackError, LimitError, StoppedError.
        """
        self._file = file
        self._format = _FORMATS[digits]
        self._proc = proc
        self._limits = limits
        self._end = 0
        self._offsets: dict[bytes, int] = {}
        self._find = find or self._offsets.__getitem__
        self._deltas: defaultdict[_Base, list[int]] = defaultdict(list)
        if not find:
            self._index()

    def __contains__(self, hash_: bytes) -> bool:
        return hash_ in self._offsets

    def __getitem__(self, hash_: bytes) -> ShaFile:
        """Return a small object. Raise KeyError, PackError."""
        content = bytearray()
        for piece in self.pieces(hash_):
            content += piece
            if len(content) > _LARGEST:
                raise PackError(f"{hash_.decode()} is larger than {_LARGEST >> 20} MiB")
        kind = self._chain(self._find(hash_))[-1].kind
        return ShaFile.from_raw_string(kind, bytes(content), object_format=self._format)

    def pieces(self, hash_: bytes) -> Iterator[bytes]:
        """Yield the content of an object; do not read another object meanwhile. Raise KeyError, PackError."""
        *deltas, bottom = self._chain(self._find(hash_))
        if not deltas:
            yield from self._inflated(bottom)
            return
        content = self._spooled(self._inflated(bottom))
        for delta in reversed(deltas):
            with content as base:
                content = self._patched(base, delta)
        with content:
            yield from _pieces(content)

    def commits(self, prefix: str) -> list[str]:
        """Return the hashes of the commits that begin with `prefix`."""
        found = (hash_ for hash_ in self._offsets if hash_.startswith(prefix.encode()))
        return sorted(hash_.decode() for hash_ in found if self._chain(self._find(hash_))[-1].kind == Commit.type_num)

    def _chain(self, offset: int) -> list[_Entry]:
        """Return the entry of an object, then its base, and so on to a base that is not a delta."""
        chain = [self._entry(offset)]
        while (base := chain[-1].base) is not None:
            if len(chain) > _DEEPEST:
                raise PackError(_TOO_DEEP)
            chain.append(self._entry(base if isinstance(base, int) else self._find(base)))
        return chain

    def _index(self) -> None:
        """Index all objects: first those that are not deltas, then their deltas."""
        bottoms = list(self._scan())
        for offset, hash_, entry in bottoms:
            if deltas := self._above(offset, hash_):
                with self._spooled(self._inflated(entry)) as content:
                    self._descend(content, entry.kind, deltas)
        if self._deltas:
            raise PackError("it has a delta to an object that is not there")

    def _scan(self) -> Iterator[tuple[int, bytes, _Entry]]:
        """Yield the offset, hash and entry of each object that is not a delta; store the deltas by their base."""
        if not self._file.seek(0, 2):
            return  # no object was requested
        self._file.seek(0)
        magic, version, count = self._read(4), self._number(4), self._number(4)
        if magic != b"PACK" or version not in (2, 3):
            raise PackError("it has no head")
        if count > _MOST_OBJECTS:
            raise PackError(f"it has more than {_MOST_OBJECTS} objects")
        self._end = 12
        for _ in range(count):
            offset = self._end
            entry = self._entry(offset)
            self._limits.take_bytes(entry.size)
            hash_ = self._hashed(entry.kind, entry.size, self._inflated(entry))
            if entry.base is None:
                self._offsets[hash_] = offset
                yield offset, hash_, entry
            else:
                self._deltas[entry.base].append(offset)

    def _entry(self, offset: int) -> _Entry:
        self._file.seek(offset)
        byte = self._number(1)
        kind, size = byte >> 4 & 7, byte & 15
        if byte & 0x80:
            size |= _varint(self._file) << 4
        base: _Base | None = None
        if kind == _BY_OFFSET:
            base = offset - self._distance()
        elif kind == _BY_HASH:
            base = self._read(self._format.oid_length).hex().encode()
        elif kind not in _TYPES:
            raise PackError(f"it has an object of the unknown type {kind}")
        return _Entry(kind, size, self._file.tell(), base)

    def _distance(self) -> int:
        byte = self._number(1)
        distance = byte & 0x7F
        while byte & 0x80 and distance >> _MOST_SHIFTED == 0:
            byte = self._number(1)
            distance = (distance + 1) << 7 | byte & 0x7F
        return distance

    def _inflated(self, entry: _Entry) -> Iterator[bytes]:
        """Yield the inflated data of an entry, and store the offset of its end."""
        self._file.seek(entry.data)
        inflater, left = zlib.decompressobj(), entry.size
        while not inflater.eof:
            self._proc.check()
            given = inflater.unconsumed_tail or self._read(min(left + 64, _PIECE), least=1)
            try:
                piece = inflater.decompress(given, _PIECE)
            except zlib.error as error:
                raise PackError(f"it has an object that is not compressed well: {error}") from None
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left:
            raise PackError("it has an object of another size than it says")
        self._end = self._file.tell() - len(inflater.unused_data)

    def _descend(self, content: IO[bytes], kind: int, deltas: list[int], depth: int = 1) -> None:
        """Index the deltas to a content, and recursively the deltas to each result; one file is open at each level."""
        if depth > _DEEPEST:
            raise PackError(_TOO_DEEP)
        for delta in deltas:
            with self._patched(content, self._entry(delta), self._limits) as result:
                size = result.seek(0, 2)
                result.seek(0)
                hash_ = self._hashed(kind, size, _pieces(result))
                self._offsets.setdefault(hash_, delta)
                self._descend(result, kind, self._above(delta, hash_), depth + 1)

    def _above(self, offset: int, hash_: bytes) -> list[int]:
        """Remove and return the offsets of the deltas to an object."""
        return self._deltas.pop(offset, []) + self._deltas.pop(hash_, [])

    def _patched(self, base: IO[bytes], delta: _Entry, limits: Limits | None = None) -> IO[bytes]:
        """Return the result of a delta and its base; count its bytes in `limits`, if given."""
        with self._spooled(self._inflated(delta)) as steps:
            if _varint(steps) != base.seek(0, 2):
                raise PackError("it has a delta to an object of another size")
            size = _varint(steps)
            if limits:
                limits.take_bytes(size)
            return self._spooled(self._steps(base, steps, size))

    def _steps(self, base: IO[bytes], steps: IO[bytes], left: int) -> Iterator[bytes]:
        while code := steps.read(1):
            self._proc.check()
            source, count = steps, code[0]
            if count & 0x80:  # copy from the base: the bits name the bytes of offset and size that follow
                offset, size = _bytes(steps, count & 0x0F, 4), _bytes(steps, count >> 4 & 0x07, 3)
                base.seek(offset)
                source, count = base, size or 0x10000
            left -= count
            while count and left >= 0:
                piece = source.read(min(count, _PIECE))
                if not piece:
                    raise PackError("it has a delta that goes on past an end")
                count -= len(piece)
                yield piece
        if left:
            raise PackError("it has a delta whose result has another size than it says")

    def _spooled(self, pieces: Iterable[bytes]) -> IO[bytes]:
        file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - the caller closes it
        try:
            for piece in pieces:  # writelines would hold all of them in memory
                file.write(piece)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    def _hashed(self, kind: int, size: int, pieces: Iterable[bytes]) -> bytes:
        hashed = hashlib.new(self._format.name, b"%s %d\0" % (_TYPES.get(kind, b""), size))
        for piece in pieces:
            hashed.update(piece)
        return hashed.hexdigest().encode()

    def _number(self, size: int) -> int:
        return int.from_bytes(self._read(size), "big")

    def _read(self, size: int, least: int | None = None) -> bytes:
        found = self._file.read(size)
        if len(found) < (size if least is None else least):
            raise PackError("it ends in the middle")
        return found


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    return iter(partial(file.read, _PIECE), b"")


def loose_pieces(path: str) -> Iterator[bytes]:
    """Yield the content of an object in a file of its own: gitrepository-layout(5). Raise FileNotFoundError."""
    inflater, head = zlib.decompressobj(), b""
    with open(path, "rb") as file:
        while not inflater.eof and (given := inflater.unconsumed_tail or file.read(_PIECE)):
            piece = inflater.decompress(given, _PIECE)
            if b"\0" in head:
                yield piece
            else:
                head += piece
                yield head.partition(b"\0")[2]


def _varint(stream: IO[bytes]) -> int:
    number = shift = 0
    while shift <= _MOST_SHIFTED and (byte := stream.read(1)):
        number |= (byte[0] & 0x7F) << shift
        shift += 7
        if not byte[0] & 0x80:
            return number
    raise PackError("it has a number without an end")


def _bytes(stream: IO[bytes], mask: int, most: int) -> int:
    """Read a number, lowest byte first, and return it. Bytes that are not in the mask are 0 and not in the stream."""
    places = [place for place in range(most) if mask >> place & 1]
    found = stream.read(len(places))
    if len(found) < len(places):
        raise PackError("it has a delta that goes on past an end")
    return sum(byte << 8 * place for place, byte in zip(places, found, strict=True))
