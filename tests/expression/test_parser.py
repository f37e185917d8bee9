"""Expressions are parsed, and errors explain those that cannot be."""

from __future__ import annotations

import pytest
from tests.support.printer import meaning

from step_runner.errors import ExpressionError
from step_runner.expression import expand, parse
from step_runner.expression.lexer import MAX_TOKENS
from step_runner.expression.nodes import Attribute, Binary, Index, Literal, Logical, Name, Unary


def test_operators_bind_in_order_of_precedence() -> None:
    (tree,) = parse("${{ a || b && c == d + e * -f.g[1] }}")

    product = Binary("*", Name("e"), Unary("-", _place()))
    total = Binary("+", Name("d"), product)
    comparison = Binary("==", Name("c"), total)
    both = Logical("&&", Name("b"), comparison)
    assert meaning(tree) == meaning(Logical("||", Name("a"), both))


def _place() -> Index:
    return Index(Attribute(Name("f"), "g"), Literal(1))


def test_nodes_have_positions() -> None:
    source = "x ${{ (a + b.c) * d }}"
    (_, tree) = parse(source)

    assert isinstance(tree, Binary)
    assert isinstance(tree.left, Binary)
    assert source[tree.start : tree.end] == "(a + b.c) * d"
    assert source[tree.operator_start] == "*"
    assert source[tree.left.start : tree.left.end] == "a + b.c"
    assert source[tree.left.right.start : tree.left.right.end] == ".c"


def test_nodes_are_immutable() -> None:
    with pytest.raises(AttributeError):
        Literal(1).value = 2  # type: ignore[misc]


MESSAGES = {
    "not closed": (
        "${{ job.x",
        """\
1:1: "${{" is not closed, add "}}" after the expression
  ${{ job.x
  ^~~""",
    ),
    "nothing in it": (
        "a ${{ }}",
        """\
1:3: the expression is empty, write one between "${{" and "}}"
  a ${{ }}
    ^~~~~""",
    ),
    "operand missing in the second line": (
        "first\n  second: ${{ a +  }}\nthird",
        """\
2:20: expected a value, found "}"
    second: ${{ a +  }}
                     ^""",
    ),
    "two operands": (
        "${{ a b }}",
        """\
1:7: expected an operator or "}}", found "b"
  ${{ a b }}
        ^""",
    ),
    "words for operators": (
        "${{ a and b }}",
        """\
1:7: expected an operator or "}}", found "and", did you mean "&&"?
  ${{ a and b }}
        ^~~""",
    ),
    "one equals sign": (
        "${{ a = b }}",
        """\
1:7: "=" is not an operator, did you mean "=="?
  ${{ a = b }}
        ^""",
    ),
    "a question": (
        "${{ a ? b : c }}",
        """\
1:7: "?" is not an operator, write "condition && a || b"
  ${{ a ? b : c }}
        ^""",
    ),
    "another character": (
        "${{ 10^308 }}",
        """\
1:7: unexpected character "^"
  ${{ 10^308 }}
        ^""",
    ),
    "an expression in an expression": (
        "${{ ${{ a }} }}",
        """\
1:5: "${{" is not valid in an expression, except in a double-quoted string
  ${{ ${{ a }} }}
      ^~~""",
    ),
    "a dot before an index": (
        "${{ inputs.team.0 }}",
        """\
1:17: expected a name after ".", found "0", write [0] for an item of an array
  ${{ inputs.team.0 }}
                  ^""",
    ),
    "a string that does not end": (
        '${{ "abc }}',
        """\
1:5: the string is not closed, add " after it
  ${{ "abc }}
      ^""",
    ),
    "an unknown escape": (
        r'${{ "a\qb" }}',
        r"""1:7: "\q" is not an escape, write "\\" for a backslash or put the text in '...'
  ${{ "a\qb" }}
        ^~""",
    ),
    "half of a surrogate pair": (
        r'${{ "\ud800" }}',
        r"""1:6: "\ud800" is not an escape, write "\\" for a backslash or put the text in '...'
  ${{ "\ud800" }}
       ^~~~~~""",
    ),
    "a reserved word": (
        "${{ for }}",
        """\
1:5: "for" is a reserved word and cannot be a name
  ${{ for }}
      ^~~""",
    ),
    "comma missing": (
        "${{ [1 2] }}",
        """\
1:8: expected an operator, "," or "]", found "2"
  ${{ [1 2] }}
         ^""",
    ),
    "bracket not closed": (
        "${{ (1",
        """\
1:5: "(" is not closed, add ")"
  ${{ (1
      ^""",
    ),
    "key missing": (
        "${{ {1: 2} }}",
        """\
1:6: expected a key, found "1"
  ${{ {1: 2} }}
       ^""",
    ),
    "colon missing": (
        "${{ {a 1} }}",
        """\
1:8: expected ":" after the key, found "1"
  ${{ {a 1} }}
         ^""",
    ),
    "a call of a value without a name": (
        "${{ (str)(1) }}",
        """\
1:10: expected an operator or "}}", found "("
  ${{ (str)(1) }}
           ^""",
    ),
    "a number out of range": (
        "${{ 1e999 }}",
        """\
1:5: the number is too large
  ${{ 1e999 }}
      ^~~~~""",
    ),
    "a place in a long line": (
        "x" * 90 + "${{ a + }}" + "y" * 90,
        f"""\
1:99: expected a value, found "}}"
  ...{"x" * 32}${{{{ a + }}}}{"y" * 34}...
  {" " * 43}^""",
    ),
    "tabs and wide characters": (
        "\t字 ${{ ) }}",
        """\
1:8: expected a value, found ")"
  \t字 ${{ ) }}
  \t       ^""",
    ),
}


@pytest.mark.parametrize(("template", "message"), MESSAGES.values(), ids=MESSAGES)
def test_syntax_error_names_place_and_reason(template: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(template)

    assert str(caught.value) == f"parsing expression failed at {message}"
    assert caught.value.source == template


def test_error_gives_place_as_offsets() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse("ab\n${{ for }}")

    assert caught.value.span == (7, 10)


TOO_MUCH = {
    "brackets": "${{ " + "(" * 10_000 + "1" + ")" * 10_000 + " }}",
    "arrays": "${{ " + "[" * 10_000 + "]" * 10_000 + " }}",
    "objects": "${{ " + "{a:" * 10_000 + "1" + "}" * 10_000 + " }}",
    "computed keys": "${{ " + "{(" * 10_000,
    "indexes": "${{ " + "a[" * 10_000,
    "calls": "${{ " + "str(" * 10_000,
    "unary operators": "${{ " + "!-+" * 4_000 + "1 }}",
    "strings": '${{ "' * 10_000,
    "all operators": "${{ " + "1 || 1 && 1 == 1 + 1 * (" * 10_000,
    "expressions": "${{ 1 }}" * 125_000,
    "operators": "${{ " + "1+" * 500_000 + "1 }}",
    "escapes": '${{ "' + r"\n" * 500_000 + '" }}',
    "digits": "${{ " + "1" * 1_000_000 + " }}",
    "letters": "${{ " + "x" * 1_000_000 + " }}",
    "blanks": "${{ " + " " * 1_000_000,
    "an open string": "${{ '" + r"\'" * 500_000,
    "open strings": "${{ '\\' }} ${{ '" * 100_000,
}


@pytest.mark.parametrize("template", TOO_MUCH.values(), ids=TOO_MUCH)
def test_parser_refuses_excessive_texts(template: str) -> None:
    """Work that grows faster than the text would take minutes, and the test's timeout would end it."""
    with pytest.raises(ExpressionError) as caught:
        expand(template, {})

    assert len(str(caught.value)) < 500


def test_parser_reads_large_texts_and_long_chains() -> None:
    assert expand("${{ " + "+".join(["1"] * 10_000) + " }}", {}) == 10_000
    assert expand("${{ " + "&&".join(["1"] * 10_000) + " }}", {}) == 1
    assert expand(f"{'x}}' * 300_000}${{{{ 1 }}}}", {}) == "x}}" * 300_000 + "1"
    assert expand("${{ '" + r"\n" * 500_000 + "' }}", {}) == r"\n" * 500_000
    assert expand(f"${{{{ {'(' * 99}1{')' * 99} }}}}", {}) == 1
    assert expand("${{ 1 }}" * (MAX_TOKENS // 3), {}) == "1" * (MAX_TOKENS // 3)
