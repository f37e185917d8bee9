"""Text instead of bytes, as in `subprocess`."""

from __future__ import annotations

import codecs
import io
import sys

from gracefulexitcmd.typed import NamedTuple


class Text(NamedTuple):
    """The conversion between the bytes of a command's streams and text."""

    encoding: str
    errors: str = "strict"

    def decoder(self) -> io.IncrementalNewlineDecoder:
        """Return a decoder that turns every kind of line end into a line feed, as open() does."""
        return io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(self.encoding)(self.errors), translate=True)

    def decode(self, content: bytes) -> str:
        """Return bytes as text. Raise UnicodeDecodeError if `errors` asks for it."""
        return self.decoder().decode(content, final=True)

    def encode(self, content: str) -> bytes:
        """Return text as bytes. Raise UnicodeEncodeError if `errors` asks for it."""
        return content.encode(self.encoding, self.errors)


def chosen(encoding: str | None, errors: str | None) -> Text:
    """Return the conversion that these arguments of a command ask for. Raise LookupError for an unknown encoding."""
    return Text(codecs.lookup(encoding or _default()).name, errors or "strict")


def _default() -> str:
    """Return the encoding of the locale, which open() uses too."""
    import locale

    return "utf-8" if sys.flags.utf8_mode else locale.getencoding()
