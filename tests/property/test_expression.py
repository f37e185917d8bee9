"""The laws of all expressions, templates and values."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.printer import meaning, print_expression, print_template

from step_runner.errors import ExpressionError
from step_runner.expression import (
    Secret,
    escape_template,
    expand,
    expand_text,
    has_expression,
    is_secret,
    parse,
    reveal,
)
from step_runner.expression.evaluation import Scope, evaluate
from step_runner.expression.failure import EvaluationError
from step_runner.expression.nodes import (
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
    Unary,
)
from step_runner.expression.parser import RESERVED
from step_runner.expression.values import number, text_of

if TYPE_CHECKING:
    from step_runner.model import Value

Nodes: TypeAlias = "st.SearchStrategy[Node]"

FAST = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])

WORDS = st.sampled_from(["a", "b", "env", "größe", "_x1", "str", "num", "bool"])
ATTRIBUTES = WORDS | st.sampled_from(sorted(RESERVED))
STRINGS = st.text(st.sampled_from("ab0\\\"'$${{}} \n\tü字\x00") | st.characters(codec="utf-8"), max_size=8)
NUMBERS = (st.integers(0, 10**25) | st.floats(0, allow_nan=False, allow_infinity=False)).map(number)
BINARY = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%"])

LEAVES: Nodes = st.builds(Literal, STRINGS | NUMBERS | st.booleans() | st.none()) | st.builds(Name, WORDS)


def _texts(pieces: list[str | Node]) -> tuple[str | Node, ...]:
    """Return pieces like those of the parser: without empty texts, and without two adjacent texts."""
    kept: list[str | Node] = []
    for piece in pieces:
        if piece != "" and not (kept and isinstance(piece, str) and isinstance(kept[-1], str)):
            kept.append(piece)
    return tuple(kept)


def _interpolation(pieces: list[str | Node], node: Node) -> Node:
    return Interpolation(_texts([*pieces, node]))


def _larger(nodes: Nodes) -> Nodes:
    pieces = st.lists(STRINGS | nodes, max_size=3)
    return (
        st.builds(Array, st.lists(nodes, max_size=3).map(tuple))
        | st.builds(Object, st.lists(st.tuples(nodes, nodes), max_size=3).map(tuple))
        | st.builds(Call, WORDS, st.lists(nodes, max_size=2).map(tuple))
        | st.builds(Unary, st.sampled_from("+-!"), nodes)
        | st.builds(Binary, BINARY, nodes, nodes)
        | st.builds(Logical, st.sampled_from(["&&", "||"]), nodes, nodes)
        | st.builds(Attribute, nodes, ATTRIBUTES)
        | st.builds(Index, nodes, nodes)
        | st.builds(_interpolation, pieces, nodes)
    )


NODES: Nodes = st.recursive(LEAVES, _larger, max_leaves=12)

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | (st.integers() | FLOATS).map(number) | STRINGS
VALUES: st.SearchStrategy[Value] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3),
    max_leaves=8,
)
HIDDEN: st.SearchStrategy[object] = st.recursive(
    SCALARS | SCALARS.map(Secret),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
NAMES = st.dictionaries(WORDS, HIDDEN, max_size=4)
TEMPLATES = st.lists(
    st.sampled_from(
        [
            *("${{", "}}", "\\${{", '"', "'", "\\", "$", "\\u0041", "a", "a.b", "1", "1.5e3", "for", "true"),
            *("+", "-", "*", "/", "%", "!", "==", "&&", "||", "<", "=", ".", "[", "]", "(", ")", "{", "}"),
            *(",", ":", " ", "\n", "str(", "num(", "字"),
        ]
    )
    | st.text(max_size=3),
    max_size=20,
).map("".join)


@FAST
@given(NODES)
def test_printed_tree_parses_to_equal_tree(node: Node) -> None:
    assert meaning(parse("${{ " + print_expression(node) + " }}")) == meaning((node,))


@FAST
@given(TEMPLATES)
def test_parsed_template_prints_to_equal_template(template: str) -> None:
    try:
        pieces = parse(template)
    except ExpressionError:
        return

    assert meaning(parse(print_template(pieces))) == meaning(pieces)


@FAST
@given(NODES, NAMES)
def test_evaluation_of_any_tree_raises_only_evaluation_error(node: Node, names: dict[str, object]) -> None:
    try:
        value = evaluate(node, Scope(names))
    except EvaluationError:
        return

    text_of(reveal(value))


@FAST
@given(NODES, NAMES)
def test_result_is_plain_value_or_one_secret(node: Node, names: dict[str, object]) -> None:
    try:
        result = expand("${{ " + print_expression(node) + " }}", names)
    except ExpressionError:
        return

    assert isinstance(result, Secret) or not is_secret(result)
    assert not is_secret(reveal(result))


@FAST
@given(NODES, NAMES)
def test_secrets_change_only_the_mark_of_result(node: Node, names: dict[str, object]) -> None:
    template = "${{ " + print_expression(node) + " }}"
    plain: dict[str, object] = {name: reveal(value) for name, value in names.items()}
    try:
        expected = expand(template, plain)
    except ExpressionError:
        expected = "failed"
    try:
        result = reveal(expand(template, names))
    except ExpressionError:
        result = "failed"

    assert result == expected


@FAST
@given(TEMPLATES | st.text(), NAMES)
def test_expansion_of_any_text_raises_only_expression_error(template: str, names: dict[str, object]) -> None:
    try:
        result = expand_text(template, names)
        expand(template, names)
    except ExpressionError:
        return

    assert isinstance(reveal(result), str)


@FAST
@given(VALUES)
def test_value_without_expressions_stays_unchanged(value: Value) -> None:
    escaped = "${{" in text_of(reveal(value))

    assert escaped or expand(value, {}) == value


@FAST
@given(STRINGS | TEMPLATES)
def test_escaped_text_expands_to_itself(text: str) -> None:
    escaped = escape_template(text)

    assert not has_expression(escaped)
    assert expand(escaped, {}) == expand_text(escaped, {}) == text


@FAST
@given(VALUES, VALUES, VALUES)
def test_comparisons_are_total_order(a: Value, b: Value, c: Value) -> None:
    names = {"a": a, "b": b, "c": c}

    def holds(expression: str) -> bool:
        return expand("${{ " + expression + " }}", names) is True

    assert holds("a < b") + holds("a == b") + holds("a > b") == 1
    assert holds("a <= b") == (holds("a < b") or holds("a == b"))
    assert holds("a >= b") == holds("b <= a")
    assert holds("a != b") != holds("a == b")
    assert not (holds("a <= b") and holds("b <= c")) or holds("a <= c")


@FAST
@given(FLOATS)
def test_text_of_number_parses_to_equal_number(value: float) -> None:
    assert expand("${{ num(str(a)) }}", {"a": value}) == value
    assert float(text_of(reveal(value))) == value


@FAST
@given(st.integers(-(2**53), 2**53), st.integers(-(2**53), 2**53), st.sampled_from("+-*/"))
def test_whole_numbers_are_computed_as_doubles(a: int, b: int, operator: str) -> None:
    if b == 0 and operator == "/":
        return
    doubles = {
        "+": lambda: float(a) + float(b),
        "-": lambda: float(a) - float(b),
        "*": lambda: float(a) * float(b),
        "/": lambda: float(a) / float(b),
    }

    assert expand(f"${{{{ a {operator} b }}}}", {"a": a, "b": b}) == doubles[operator]()
