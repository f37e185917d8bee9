"""Parses a text into a tree: a hand-written Pratt parser. The docstrings of its functions hold the grammar."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn, TypeVar

import msgspec

from step_runner.expression.failure import EvaluationError
from step_runner.expression.lexer import Lexer, Token
from step_runner.expression.nodes import (
    POWERS,
    UNARY_POWER,
    Array,
    Attribute,
    Binary,
    Call,
    Index,
    Interpolation,
    Literal,
    Logical,
    Name,
    Node,
    Object,
    Piece,
    Unary,
)
from step_runner.expression.report import syntax_error
from step_runner.expression.values import MAX_DEPTH, parse_number

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

EXPRESSION_START = re.compile(r"(?<!\\)\$\{\{")

_RESERVED_WORDS = """
array as break case const continue default else fallthrough float for func function goto if import in int let loop
map namespace number object package range return string struct switch type var void while
"""
RESERVED = frozenset(_RESERVED_WORDS.split())

_CONSTANTS = {"true": True, "false": False, "null": None}
_WORD_OPERATORS = {"and": "&&", "or": "||", "not": "!"}
_STRING_STOP = re.compile(r'["\\]|\$\{\{')
_ESCAPE = re.compile(
    r"""\\(?: u(?i:d[89ab])[0-9a-fA-F]{2} \\u(?i:d[c-f])[0-9a-fA-F]{2} | u(?!(?i:d[89a-f]))[0-9a-fA-F]{4}
        | (?P<short>\$\{\{|[av]) | [\\"nrtbf/] )""",
    re.VERBOSE,
)
_NOT_IN_JSON = {"a": "\a", "v": "\v", "${{": "${{"}


def parse(source: str) -> tuple[Piece, ...]:
    r"""template = *( text / "\${{" / "${{" expr "}}" ). Raise ExpressionError."""
    parser = _Parser(source)
    pieces: list[Piece] = []
    position = 0
    while start := EXPRESSION_START.search(source, position):
        _add_text(pieces, source[position : start.start()])
        node, position = parser.embedded(start.start())
        pieces.append(node)
    _add_text(pieces, source[position:])
    return tuple(pieces)


def _add_text(pieces: list[Piece], text: str) -> None:
    if text:
        pieces.append(text.replace("\\${{", "${{"))


class _Parser:
    """Holds the current token of a source; `_end` is the end of the previous token."""

    __slots__ = ("_depth", "_end", "_lexer", "_source", "_token")

    def __init__(self, source: str) -> None:
        self._source = source
        self._lexer = Lexer(source)
        self._token = Token("end", "", 0, 0)
        self._end = 0
        self._depth = 0

    def embedded(self, start: int) -> tuple[Node, int]:
        """ "${{" expr "}}"; return the tree and the offset after the closing braces."""
        self._token = self._lexer.read(start + 3)
        if self._token.kind == "}":
            self._refuse(start, self._token.end, 'the expression is empty, write one between "${{" and "}}"')
        self._require_more(start)
        node = self.expression()
        self._require_more(start)
        end = self._token.end
        if self._token.kind != "}" or self._source[end : end + 1] != "}":
            self._expected('an operator or "}}"')
        return node, end + 1

    def _require_more(self, start: int) -> None:
        if self._token.kind == "end":
            self._refuse(start, start + 3, '"${{" is not closed, add "}}" after the expression')

    def expression(self, power: int = 0) -> Node:
        """expr = operand *( operator operand ), for the operators that bind more strongly than `power`."""
        self._descend()
        start = self._token.start
        node = (_OPERANDS.get(self._token.kind) or self._expected("a value"))(self)
        while (next_power := POWERS.get(self._token.kind, 0)) > power:
            node = _CONTINUATIONS.get(self._token.kind, _Parser._binary)(self, node, start, next_power)
        self._depth -= 1
        return node

    def _descend(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            token = self._token
            self._refuse(token.start, token.end, f"the expression is nested more than {MAX_DEPTH} levels deep")

    def _binary(self, left: Node, start: int, power: int) -> Node:
        """a operator b"""
        operator = self._advance()
        right = self.expression(power)
        node = Logical if operator.text in ("&&", "||") else Binary
        return node(operator.text, left, right, operator.start, start=start, end=self._end)

    def _attribute(self, left: Node, start: int, power: int) -> Node:
        """ "." ident; here a reserved word is a name."""
        dot = self._advance()
        if self._token.kind != "name":
            hint = f", write [{self._token.text}] for an item of an array" if self._token.kind == "number" else ""
            self._expected('a name after "."', hint)
        return Attribute(left, self._advance().text, start=dot.start, end=self._end)

    def _index(self, left: Node, start: int, power: int) -> Node:
        """ "[" expr "]" """
        bracket = self._advance()
        index = self.expression()
        self._close("]", bracket)
        return Index(left, index, start=bracket.start, end=self._end)

    def _unary(self) -> Node:
        """unary = ( "+" / "-" / "!" ) unary"""
        operator = self._advance()
        operand = self.expression(UNARY_POWER)
        return Unary(operator.text, operand, start=operator.start, end=self._end)

    def _group(self) -> Node:
        """ "(" expr ")" """
        bracket = self._advance()
        node = self.expression()
        self._close(")", bracket)
        return node

    def _array(self) -> Node:
        """array = "[" [ expr *( "," expr ) [ "," ] ] "]" """
        bracket = self._advance()
        items = self._listed("]", bracket, self.expression)
        return Array(items, start=bracket.start, end=self._end)

    def _object(self) -> Node:
        """object = "{" [ pair *( "," pair ) [ "," ] ] "}" """
        bracket = self._advance()
        pairs = self._listed("}", bracket, self._pair)
        return Object(pairs, start=bracket.start, end=self._end)

    def _pair(self) -> tuple[Node, Node]:
        """pair = key ":" expr"""
        key = (_KEYS.get(self._token.kind) or self._expected("a key"))(self)
        if self._token.kind != ":":
            self._expected('":" after the key')
        self._advance()
        return key, self.expression()

    def _bare_key(self) -> Node:
        """key = ident / string / "(" expr ")"; a bare name is the key itself."""
        token = self._advance()
        return Literal(token.text, start=token.start, end=token.end)

    def _name(self) -> Node:
        """ "true" / "false" / "null" / ident / ident "(" [ expr *( "," expr ) ] ")" """
        token = self._advance()
        if token.text in _CONSTANTS:
            return Literal(_CONSTANTS[token.text], start=token.start, end=token.end)
        if token.text in RESERVED:
            self._refuse(token.start, token.end, f'"{token.text}" is a reserved word and cannot be a name')
        if self._token.kind == "(":
            return self._call(token)
        return Name(token.text, start=token.start, end=token.end)

    def _call(self, function: Token) -> Node:
        bracket = self._advance()
        arguments = self._listed(")", bracket, self.expression, trailing_comma=False)
        return Call(function.text, arguments, start=function.start, end=self._end)

    def _listed(
        self, closing: str, bracket: Token, read: Callable[[], T], trailing_comma: bool = True
    ) -> tuple[T, ...]:
        items: list[T] = []
        while self._token.kind != closing or (items and not trailing_comma):
            items.append(read())
            if self._token.kind != ",":
                break
            self._advance()
        self._close(closing, bracket, ', ","')
        return tuple(items)

    def _number(self) -> Node:
        """number = integer / decimal, each with an optional exponent"""
        token = self._advance()
        try:
            return Literal(parse_number(token.text), start=token.start, end=token.end)
        except EvaluationError as failure:
            message = failure.message
        return self._refuse(token.start, token.end, message)

    def _string(self) -> Node:
        r"""'...' with the escapes \\ and \' only, or "..." without any."""
        token = self._advance()
        text = token.text[1:-1]
        if token.text[0] == "'" and "\\" in text:
            text = re.sub(r"\\([\\'])", r"\1", text)
        return Literal(text, start=token.start, end=token.end)

    def _pieces(self) -> Node:
        """string = DQUOTE *( text / escape / "${{" expr "}}" ) DQUOTE"""
        opening = self._token
        pieces: list[Piece] = []
        text: list[str] = []
        position = opening.end
        while (stop := self._string_stop(opening, position))[0] != '"':
            text.append(self._source[position : stop.start()])
            if stop[0] == "\\":
                escaped, position = self._escape(stop.start())
                text.append(escaped)
            else:
                node, position = self.embedded(stop.start())
                pieces += ["".join(text), node]
                text.clear()
        text.append(self._source[position : stop.start()])
        self._token = Token("string", "", opening.start, stop.end())
        self._advance()
        if not pieces:
            return Literal("".join(text), start=opening.start, end=stop.end())
        pieces.append("".join(text))
        return Interpolation(tuple(filter(None, pieces)), start=opening.start, end=stop.end())

    def _string_stop(self, opening: Token, position: int) -> re.Match[str]:
        self._lexer.count(opening.start)
        stop = _STRING_STOP.search(self._source, position) if opening.text == '"' else None
        if stop is None:
            self._refuse(opening.start, opening.end, f"the string is not closed, add {opening.text} after it")
        return stop

    def _escape(self, start: int) -> tuple[str, int]:
        r"""escape = "\" ( "\" / DQUOTE / "n" / "r" / "t" / "a" / "b" / "f" / "v" / "/" / "u" 4HEX / "${{" )"""
        match = _ESCAPE.match(self._source, start)
        if match is None:
            end = start + (6 if self._source.startswith("\\u", start) else 2)
            shown = self._source[start:end]
            message = f'"{shown}" is not an escape, write "\\\\" for a backslash or put the text in \'...\''
            self._refuse(start, end, message)
        short = match["short"]
        return _NOT_IN_JSON[short] if short else msgspec.json.decode(f'"{match[0]}"', type=str), match.end()

    def _advance(self) -> Token:
        token = self._token
        self._end = token.end
        self._token = self._lexer.read(token.end)
        return token

    def _close(self, kind: str, bracket: Token, comma: str = "") -> None:
        if self._token.kind == "end":
            self._refuse(bracket.start, bracket.end, f'"{bracket.text}" is not closed, add "{kind}"')
        if self._token.kind != kind:
            self._expected(f'an operator{comma} or "{kind}"')
        self._advance()

    def _expected(self, what: str, hint: str = "") -> NoReturn:
        token = self._token
        found = f'found "{token.text}"' if token.kind != "end" else "the text ends"
        if not hint and token.text in _WORD_OPERATORS:
            hint = f', did you mean "{_WORD_OPERATORS[token.text]}"?'
        self._refuse(token.start, token.end, f"expected {what}, {found}{hint}")

    def _refuse(self, start: int, end: int, message: str) -> NoReturn:
        raise syntax_error(self._source, start, end, message)


_OPERANDS: dict[str, Callable[[_Parser], Node]] = {
    "name": _Parser._name,
    "number": _Parser._number,
    "string": _Parser._string,
    "quote": _Parser._pieces,
    "(": _Parser._group,
    "[": _Parser._array,
    "{": _Parser._object,
    "+": _Parser._unary,
    "-": _Parser._unary,
    "!": _Parser._unary,
}

_KEYS: dict[str, Callable[[_Parser], Node]] = {
    "name": _Parser._bare_key,
    "string": _Parser._string,
    "quote": _Parser._pieces,
    "(": _Parser._group,
}

_CONTINUATIONS: dict[str, Callable[[_Parser, Node, int, int], Node]] = {
    ".": _Parser._attribute,
    "[": _Parser._index,
}
