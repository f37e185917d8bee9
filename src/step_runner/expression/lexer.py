"""Reads tokens from a text, one at a time, because a string may contain expressions."""

from __future__ import annotations

import re

import msgspec

from step_runner.expression.report import syntax_error

MAX_TOKENS = 50_000
"""The maximum number of tokens in one template; reading that many takes about 0.1 seconds."""

NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
WORD = r"[^\W\d]\w*"

_TOKEN = re.compile(
    rf"""\s*(?:
        (?P<name>{WORD})
      | (?P<symbol>\|\||&&|[=!<>]=|[-+*/%<>!.,:\[\](){{}}])
      | (?P<string>"[^"\\$]*+" | '[^'\\]*+(?:\\.[^'\\]*+)*+')
      | (?P<number>{NUMBER})
      | (?P<quote>["'])
      | (?P<end>\Z)
      | (?P<other>\$\{{\{{|.)
    )""",
    re.VERBOSE | re.DOTALL,
)

_OTHER = {
    "=": '"=" is not an operator, did you mean "=="?',
    "&": '"&" is not an operator, did you mean "&&"?',
    "|": '"|" is not an operator, did you mean "||"?',
    "?": '"?" is not an operator, write "condition && a || b"',
    "${{": '"${{" is not valid in an expression, except in a double-quoted string',
}


class Token(msgspec.Struct):
    """A word of an expression with the offsets of its start and end; the kind of a symbol is the symbol itself."""

    kind: str
    text: str
    start: int
    end: int


class Lexer:
    """Reads tokens from `source`, at any offset.

    For a double-quoted string that contains an escape or a `$` it returns only the quote, as the kind `quote`: the
    parser reads the rest.
    """

    __slots__ = ("_left", "_match", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self._match = _TOKEN.match
        self._left = MAX_TOKENS

    def read(self, position: int) -> Token:
        """Return the first token at or after `position`. Raise ExpressionError for a character that starts no token."""
        self.count(position)
        match = self._match(self.source, position)
        kind = match.lastgroup if match else None
        if match is None or kind is None:
            raise AssertionError("every text has a token")
        start, end = match.span(kind)
        text = match[kind]
        if kind == "other":
            message = _OTHER.get(text) or f'unexpected character "{text}"'
            raise syntax_error(self.source, start, end, message)
        return Token(text if kind == "symbol" else kind, text, start, end)

    def count(self, position: int) -> None:
        """Count one more token. Raise ExpressionError after the last one allowed."""
        self._left -= 1
        if self._left < 0:
            message = f"the template is too large, it has more than {MAX_TOKENS} tokens"
            raise syntax_error(self.source, position, position + 1, message)
