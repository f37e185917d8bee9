"""Evaluates the tree of an expression in its contexts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from step_runner.expression.failure import EvaluationError
from step_runner.expression.nodes import (
    CHAINED,
    Array,
    Attribute,
    Binary,
    Call,
    Index,
    Interpolation,
    Literal,
    Logical,
    Name,
    Object,
    Unary,
)
from step_runner.expression.report import did_you_mean
from step_runner.expression.values import (
    Budget,
    Unwritten,
    article,
    conceal,
    is_number,
    number,
    order_key,
    parse_number,
    peel,
    text_of,
    unwrap,
)
from step_runner.model import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from step_runner.expression.nodes import Chained, Node, Piece
    from step_runner.model import Value

_ABSENT = object()
_MOST_SHOWN_NAMES = 12


class Scope:
    """The names that one expansion can read, and the budget that it has left."""

    __slots__ = ("budget", "names")

    def __init__(self, names: Mapping[str, object]) -> None:
        self.names = names
        self.budget = Budget()

    def settle(self, value: object) -> Value | Secret:
        """Return a plain copy of the value; a Secret if the value holds one at any depth."""
        plain, secret = unwrap(value, self.budget)
        return Secret(plain) if secret else plain


def evaluate(node: Node, scope: Scope) -> object:
    """Return the value of a tree; a Secret may be at any depth of it. Raise EvaluationError.

    A loop evaluates a chain such as `a.b[0] + c + ...`. Only brackets, strings, arguments and right operands use the
    stack, and the parser limits their depth.
    """
    path: list[Chained] = []
    while isinstance(node, CHAINED):
        path.append(node)
        node = node.left
    try:
        value = _OPERANDS[type(node)](node, scope)
        while path:
            node = path.pop()
            value = _CONTINUATIONS[type(node)](node, value, scope)
    except EvaluationError as failure:
        raise failure.at(node) from None
    return value


def compute(node: Node, scope: Scope) -> tuple[Value, bool]:
    """Return the plain value of a tree, and whether it holds a secret. Raise EvaluationError."""
    value = evaluate(node, scope)
    try:
        return unwrap(value, scope.budget)
    except EvaluationError as failure:
        raise failure.at(node) from None


def interpolate(pieces: Iterable[Piece], scope: Scope) -> str | Secret:
    """Join the texts of the pieces. Raise EvaluationError."""
    texts: list[str] = []
    secret = False
    for piece in pieces:
        value, hidden = (piece, False) if isinstance(piece, str) else compute(piece, scope)
        text = text_of(value)
        scope.budget.spend(len(text))
        texts.append(text)
        secret = secret or hidden
    joined = "".join(texts)
    return Secret(joined) if secret else joined


def _name(node: Name, scope: Scope) -> object:
    name, names = node.name, scope.names
    value = names.get(name, _ABSENT)
    if value is not _ABSENT:
        return value
    if name in FUNCTIONS:
        raise EvaluationError(f"it is a function, write {name}(...)")
    known = ", ".join(list(names)[:_MOST_SHOWN_NAMES])
    hint = did_you_mean(name, names) or (f", known: {known}" if known else "")
    raise EvaluationError(f"unknown name{hint}")


def _attribute(node: Attribute, container: object, scope: Scope) -> object:
    plain, secret = peel(container)
    if not isinstance(plain, Mapping):
        hint = ", use an index as in [0]" if isinstance(plain, list | tuple) else ""
        raise EvaluationError(f"{article(plain)} has no attributes{hint}")
    return conceal(_member(plain, node.name, secret), secret)


def _member(container: Mapping[str, object], name: str, secret: bool) -> object:
    value = container.get(name, _ABSENT)
    if value is _ABSENT:
        raise EvaluationError("attribute not found" + ("" if secret else _similar(name, container)))
    return value


def _similar(name: str, container: Mapping[str, object]) -> str:
    """Return a hint. `steps.a.outputs.x-y` parses as a subtraction, but its author may mean the output `x-y`."""
    if isinstance(container, Unwritten):
        return container.hint
    for known in container:
        if known.startswith(f"{name}-"):
            return f', did you mean ["{known}"]?'
    return did_you_mean(name, container)


def _index(node: Index, container: object, scope: Scope) -> object:
    plain, secret = peel(container)
    key, secret_key = peel(evaluate(node.key, scope))
    hidden = secret or secret_key
    if isinstance(plain, Mapping):
        if not isinstance(key, str):
            raise EvaluationError(f"object requires string key, not {article(key)}")
        return conceal(_member(plain, key, hidden), hidden)
    if isinstance(plain, list | tuple):
        return conceal(plain[_position(key, len(plain), hidden)], hidden)
    raise EvaluationError(f"{article(plain)} cannot be indexed")


def _position(index: object, length: int, hidden: bool) -> int:
    if not isinstance(index, int | float) or isinstance(index, bool):
        raise EvaluationError(f"an array is indexed with a number, not {article(index)}")
    position = number(index)
    if not isinstance(position, int) or position < 0:
        raise EvaluationError("the index of an array is a whole number from 0 on")
    if position >= length:
        raise EvaluationError(
            "index out of range" + ("" if hidden else f", the array has {length} item{'s' * (length != 1)}")
        )
    return position


def _object(node: Object, scope: Scope) -> object:
    result: dict[str, object] = {}
    hidden = False
    for key_node, value_node in node.pairs:
        key, secret = peel(evaluate(key_node, scope))
        if not isinstance(key, str):
            raise EvaluationError(f"the key of an object must be a string, not {article(key)}").at(key_node)
        hidden = hidden or secret
        result[key] = evaluate(value_node, scope)
    return conceal(scope.settle(result), True) if hidden else result


def _unary(node: Unary, scope: Scope) -> object:
    value, secret = unwrap(evaluate(node.operand, scope), scope.budget)
    if node.operator == "!":
        return conceal(not value, secret)
    if not is_number(value):
        raise EvaluationError(f'"{node.operator}" needs a number, not {article(value)}')
    amount = number(cast("float", value))
    return conceal(amount if node.operator == "+" else -amount, secret)


def _logical(node: Logical, left: object, scope: Scope) -> object:
    value, secret = unwrap(left, scope.budget)
    if bool(value) == (node.operator == "||"):
        return left
    right = evaluate(node.right, scope)
    return conceal(scope.settle(right), True) if secret else right


def _binary(node: Binary, left: object, scope: Scope) -> object:
    a, secret_a = unwrap(left, scope.budget)
    b, secret_b = unwrap(evaluate(node.right, scope), scope.budget)
    result = _OPERATORS[node.operator](a, b)
    if isinstance(result, str):
        scope.budget.spend(len(result))
    return Secret(result) if secret_a or secret_b else result


def _equal(a: Value, b: Value) -> bool:
    return a == b if type(a) is type(b) is str else order_key(a) == order_key(b)


def _add(a: Value, b: Value) -> Value:
    if isinstance(a, str) and isinstance(b, str):
        return a + b
    if is_number(a) and is_number(b):
        return number(cast("float", a) + cast("float", b))
    hint = ", use str() or num()" if {type(a), type(b)} <= {str, int, float} else ""
    raise EvaluationError(f'"+" needs two numbers or two strings, not {article(a)} and {article(b)}{hint}')


def _arithmetic(operator: str, compute: Callable[[float, float], float]) -> Callable[[Value, Value], Value]:
    def operate(a: Value, b: Value) -> Value:
        if not (is_number(a) and is_number(b)):
            raise EvaluationError(f'"{operator}" needs two numbers, not {article(a)} and {article(b)}')
        if b == 0 and operator in "/%":
            raise EvaluationError("division by zero")
        return number(compute(cast("float", a), cast("float", b)))

    return operate


_OPERATORS: dict[str, Callable[[Value, Value], Value]] = {
    "+": _add,
    "-": _arithmetic("-", lambda a, b: a - b),
    "*": _arithmetic("*", lambda a, b: a * b),
    "/": _arithmetic("/", lambda a, b: float(a) / float(b)),
    "%": _arithmetic("%", math.fmod),
    "==": _equal,
    "!=": lambda a, b: not _equal(a, b),
    "<": lambda a, b: order_key(a) < order_key(b),
    "<=": lambda a, b: order_key(a) <= order_key(b),
    ">": lambda a, b: order_key(a) > order_key(b),
    ">=": lambda a, b: order_key(a) >= order_key(b),
}


def _call(node: Call, scope: Scope) -> object:
    function = FUNCTIONS.get(node.function)
    if function is None:
        hint = did_you_mean(node.function, FUNCTIONS) or f", known: {', '.join(FUNCTIONS)}"
        raise EvaluationError(f'unknown function "{node.function}"{hint}')
    if len(node.arguments) != 1:
        raise EvaluationError(f"{node.function}() needs one argument, not {len(node.arguments)}")
    value, secret = unwrap(evaluate(node.arguments[0], scope), scope.budget)
    try:
        return conceal(function(value), secret)
    except EvaluationError as failure:
        raise EvaluationError(failure.message if not secret else "the secret value is not a number") from None


def _number_of(value: Value) -> Value:
    if is_number(value):
        return value
    if not isinstance(value, str):
        raise EvaluationError(f"num() needs a string or a number, not {article(value)}")
    return parse_number(value)


FUNCTIONS: dict[str, Callable[[Value], Value]] = {"str": text_of, "num": _number_of, "bool": bool}

_OPERANDS: dict[type, Callable[[Any, Scope], object]] = {
    Literal: lambda node, _: node.value,
    Name: _name,
    Unary: _unary,
    Call: _call,
    Interpolation: lambda node, scope: interpolate(node.pieces, scope),
    Array: lambda node, scope: [evaluate(item, scope) for item in node.items],
    Object: _object,
}

_CONTINUATIONS: dict[type, Callable[[Any, object, Scope], object]] = {
    Attribute: _attribute,
    Binary: _binary,
    Logical: _logical,
    Index: _index,
}
