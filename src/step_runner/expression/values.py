"""The values of the language: the values of JSON, each of which may be secret."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from step_runner.expression.failure import EvaluationError
from step_runner.expression.lexer import NUMBER
from step_runner.model import Secret, Value

MAX_SIZE = 16 * 1024 * 1024
"""The maximum size of one expansion, in characters; a list, a map and each item of one count as 64."""

MAX_DEPTH = 100
"""The maximum nesting of brackets, operators and strings in an expression, and of lists and maps in a value."""

_ITEM_SIZE = 64
_LARGEST_WHOLE = 2**53
_NUMBER_TEXT = re.compile(rf"[+-]?(?:{NUMBER}|\.[0-9]+(?:[eE][+-]?[0-9]+)?)")
_LONGEST_INTEGER = 15


class Unwritten(dict[str, "Value"]):
    """A map without entries; the error message for a missing entry ends with `hint`, which explains why."""

    def __init__(self, hint: str) -> None:
        super().__init__()
        self.hint = hint


class Budget:
    """The size that is left for one expansion, so that a short template cannot fill the memory."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_SIZE

    def spend(self, size: int) -> None:
        """Subtract `size` characters. Raise EvaluationError when fewer are left."""
        self._left -= size
        if self._left < 0:
            limit = MAX_SIZE // 1024**2
            raise EvaluationError(f"too much to compute, at most {limit} MiB of text and values can be made")

    def spend_item(self, depth: int) -> None:
        """Subtract one item that is nested in `depth` lists and maps. Raise EvaluationError when that is too deep."""
        self.spend(_ITEM_SIZE)
        if depth > MAX_DEPTH:
            raise EvaluationError(f"the value is nested more than {MAX_DEPTH} levels deep")


def unwrap(value: object, budget: Budget) -> tuple[Value, bool]:
    """Return a copy that consists of plain values only, and whether the value holds a secret."""
    if value is None or type(value) is str or type(value) is bool:
        return value, False
    secrets: list[Secret] = []
    return _copy(value, 0, budget, secrets), bool(secrets)


def _copy(value: object, depth: int, budget: Budget, secrets: list[Secret]) -> Value:
    budget.spend_item(depth)
    match value:
        case str():
            budget.spend(len(value))
            return value
        case None | bool():
            return value
        case int() | float():
            return number(value)
        case Secret():
            secrets.append(value)
            return _copy(value.value, depth + 1, budget, secrets)
        case list() | tuple():
            return [_copy(item, depth + 1, budget, secrets) for item in value]
        case Mapping():
            return {_key(key, budget): _copy(item, depth + 1, budget, secrets) for key, item in value.items()}
        case _:
            raise EvaluationError(f"a value of the type {type(value).__name__} cannot be used")


def _key(key: object, budget: Budget) -> str:
    if not isinstance(key, str):
        raise EvaluationError(f"the keys of an object are strings, not {article(key)}")
    budget.spend(len(key))
    return key


def peel(value: object) -> tuple[object, bool]:
    """Return the value inside a Secret and True, or the value itself and False; do not look for nested secrets."""
    secret = False
    while isinstance(value, Secret):
        value, secret = value.value, True
    return value, secret


def conceal(value: object, secret: bool) -> object:
    """Return the value, as a Secret if `secret` is true."""
    if not secret or isinstance(value, Secret):
        return value
    return Secret(value)  # type: ignore[arg-type]


def number(value: float) -> int | float:
    """Return the nearest IEEE double, as an int where that is exact. Raise EvaluationError when it is too large."""
    if type(value) is int and -_LARGEST_WHOLE <= value <= _LARGEST_WHOLE:
        return value
    try:
        double = float(value)
    except OverflowError:
        double = float("inf")
    if not math.isfinite(double):
        raise EvaluationError("not a number" if math.isnan(double) else "the number is too large")
    return int(double) if double.is_integer() and abs(double) <= _LARGEST_WHOLE else double


def parse_number(text: str) -> int | float:
    """Return the number of a text in decimal notation. Raise EvaluationError for other texts and too large numbers."""
    if not _NUMBER_TEXT.fullmatch(text):
        raise EvaluationError(f"{_quote(text[:40])} is not a number")
    if len(text) <= _LONGEST_INTEGER and text.isdecimal():
        return int(text)
    return number(float(text))


_ARTICLES = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string"}


def article(value: object) -> str:
    """Return the type of a value for a sentence: "a string", "an object"."""
    plain, _ = peel(value)
    if isinstance(plain, Mapping):
        return "an object"
    return "an array" if isinstance(plain, list | tuple) else _ARTICLES.get(type(plain), f"a {type(plain).__name__}")


def is_number(value: object) -> bool:
    """Return whether the value is a number; a boolean is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def order_key(value: Value) -> tuple[object, ...]:
    """Return the key that sorts all plain values: null, booleans, numbers, strings, arrays, objects.

    Strings are sorted by characters, which is the order of their UTF-8 bytes. Arrays are sorted item by item, objects
    by their size, then their keys, then their values. Two values have equal keys if and only if they are equal.
    """
    match value:
        case None:
            return (0,)
        case bool():
            return (1, value)
        case int() | float():
            return (2, value)
        case str():
            return (3, value)
        case list():
            return (4, [order_key(item) for item in value])
        case dict():
            keys = sorted(value)
            return (5, len(keys), keys, [order_key(value[key]) for key in keys])


def text_of(value: Value) -> str:
    """Return the text of a plain value: `42`, `true`, `<null>`, `["a", 1]`."""
    if isinstance(value, str):
        return value
    return "<null>" if value is None else _json(value)


def _json(value: Value) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return number_text(value)
        case str():
            return _quote(value)
        case list():
            return "[" + ", ".join([_json(item) for item in value]) + "]"
        case dict():
            pairs = [f"{_quote(key)}: {_json(item)}" for key, item in value.items()]
            return "{" + ", ".join(pairs) + "}"


def _quote(text: str) -> str:
    from json.encoder import encode_basestring

    return encode_basestring(text)


def number_text(value: float) -> str:
    """Return the shortest decimal text of a number, with an exponent from 1e21 on and below 1e-6, as in JavaScript."""
    text = repr(number(value))
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text.removesuffix(".0")
    if not -7 < int(exponent) < 21:
        return f"{mantissa}e{int(exponent):+d}"
    from decimal import Decimal

    return f"{Decimal(text):f}"


def reveal(value: object) -> Value:
    """Return the plain value, without a Secret at any depth. Raise ExpressionError for values that JSON lacks."""
    return _plain(value)[0]


def is_secret(value: object) -> bool:
    """Return whether the value is a Secret, or holds one at any depth. Raise the errors of `reveal`."""
    return isinstance(value, Secret) or _plain(value)[1]


def _plain(value: object) -> tuple[Value, bool]:
    try:
        return unwrap(value, Budget())
    except EvaluationError as failure:
        raise failure.error() from None
