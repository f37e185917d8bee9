"""Text in place of bytes, as `subprocess` has it."""

from __future__ import annotations

import codecs
import io
import sys

from gracefulexitcmd.named_tuple import NamedTuple


class Text(NamedTuple):
    """How the bytes of a command's streams become text, and text becomes bytes."""

    encoding: str
    errors: str = "strict"

    def decoder(self) -> io.IncrementalNewlineDecoder:
        """Return a decoder that turns every kind of line end into a line feed, as open() does."""
        return io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(self.encoding)(self.errors), translate=True)

    def decode(self, content: bytes) -> str:
        """Return bytes as text. Raises UnicodeDecodeError where `errors` says so."""
        return self.decoder().decode(content, final=True)

    def encode(self, content: str) -> bytes:
        """Return text as bytes. Raises UnicodeEncodeError where `errors` says so."""
        return content.encode(self.encoding, self.errors)


def chosen(text: bool | None, encoding: str | None, errors: str | None) -> Text | None:
    """Return how streams are read and written: as text if one of the three asks for it, else None for bytes.

    Raises LookupError for an encoding that does not exist.
    """
    if not text and encoding is None and errors is None:
        return None
    return Text(codecs.lookup(encoding or _default()).name, errors or "strict")


def _default() -> str:
    """The encoding of the locale, which open() uses as well."""
    import locale

    return "utf-8" if sys.flags.utf8_mode else locale.getencoding()
