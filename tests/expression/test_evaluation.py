"""Operators and functions have values, or errors that name place and reason."""

from __future__ import annotations

import pytest

from step_runner.errors import ExpressionError
from step_runner.expression import expand

NAMES: dict[str, object] = {
    "env": {"FLIN_FLAN": "x", "PATH": "/bin"},
    "inputs": {"name": "Kevin", "team": ["tron", "ram"], "count": 2, "none": None},
    "steps": {"build": {"outputs": {"total": 5, "x-y": "d"}}},
    "nowhere": {},
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("7 % -3", 1),
        ("-7.5 % 2", -1.5),
        ("6 / 3", 2),
        ("0.1 + 0.2", 0.30000000000000004),
        ("0 / -5", 0),
        ("9007199254740992 + 1", 9007199254740992),
        ("9007199254740993 == 9007199254740992", True),
        ("1e16 + 1 == 1e16", True),
        ("- -1", 1),
        ("!!'a'", True),
        ("-2 * -3", 6),
        ("1 == true", False),
        ("0 == false", False),
        ("1 == 1.0", True),
        ("[1, [true]] == [1, [1]]", False),
        ("null < false", True),
        ("true < 0", True),
        ("99 < ''", True),
        ("'z' < []", True),
        ("[9] < {}", True),
        ("[1] < [1, 0]", True),
        ("[2] > [1, 9]", True),
        ("{z: 1} < {a: 1, b: 1}", True),
        ("{a: 2} < {b: 1}", True),
        ("{a: 1} < {a: 2}", True),
        ("'\uffff' < '\U00010000'", True),
        ("'a' >= 'a'", True),
        ("1 <= 0", False),
        ("'' || [] || 0", 0),
        ("'' && nope", ""),
        ("1 || nope", 1),
        ("false || 'x' && 'y'", "y"),
        ("num(3)", 3),
        ("num('-1.50e1')", -15),
        ("num('+.5')", 0.5),
        ("num('12345678901234567890')", 1.2345678901234567e19),
        ("str('a')", "a"),
        ("str(1e21)", "1e+21"),
        ("str([1.0, null, {a: 'x'}])", '[1, null, {"a": "x"}]'),
        ("bool([])", False),
        ("bool({a: 1})", True),
        ("bool(null)", False),
        ("'${{ x }}'", "${{ x }}"),
        ("[10, 20][1.0]", 20),
    ],
)
def test_expression_evaluates_to_its_value(expression: str, expected: object) -> None:
    result = expand(f"${{{{ {expression} }}}}", {})

    assert result == expected
    assert type(result) is type(expected)


MESSAGES = {
    "attribute misspelt": (
        "${{ env.FLIN_FLAN_FLON }}",
        """\
".FLIN_FLAN_FLON": attribute not found, did you mean "FLIN_FLAN"?
  ${{ env.FLIN_FLAN_FLON }}
         ^~~~~~~~~~~~~~~""",
    ),
    "attribute unlike any other": (
        "${{ nowhere.x }}",
        """\
".x": attribute not found
  ${{ nowhere.x }}
             ^~""",
    ),
    "key misspelt": (
        "${{ env['PATHS'] }}",
        """\
"['PATHS']": attribute not found, did you mean "PATH"?
  ${{ env['PATHS'] }}
         ^~~~~~~~~""",
    ),
    "a name with a dash": (
        "${{ steps.build.outputs.x-y }}",
        """\
".x": attribute not found, did you mean ["x-y"]?
  ${{ steps.build.outputs.x-y }}
                         ^~""",
    ),
    "name in capitals": (
        "a ${{ Env.PATH }}",
        """\
"Env": unknown name, did you mean "env"?
  a ${{ Env.PATH }}
        ^~~""",
    ),
    "name unlike any other": (
        "${{ q }}",
        """\
"q": unknown name, known: env, inputs, steps, nowhere
  ${{ q }}
      ^""",
    ),
    "attribute of a string": (
        "${{ env.PATH.x }}",
        """\
".x": a string has no attributes
  ${{ env.PATH.x }}
              ^~""",
    ),
    "attribute of an array": (
        "${{ inputs.team.name }}",
        """\
".name": an array has no attributes, use an index as in [0]
  ${{ inputs.team.name }}
                 ^~~~~""",
    ),
    "attribute of null": (
        "${{ inputs.none.x }}",
        """\
".x": null has no attributes
  ${{ inputs.none.x }}
                 ^~""",
    ),
    "index too high": (
        "${{ inputs.team[2] }}",
        """\
"[2]": index out of range, the array has 2 items
  ${{ inputs.team[2] }}
                 ^~~""",
    ),
    "index negative": (
        "${{ inputs.team[-1] }}",
        """\
"[-1]": the index of an array is a whole number from 0 on
  ${{ inputs.team[-1] }}
                 ^~~~""",
    ),
    "index between": (
        "${{ inputs.team[0.5] }}",
        """\
"[0.5]": the index of an array is a whole number from 0 on
  ${{ inputs.team[0.5] }}
                 ^~~~~""",
    ),
    "index a string": (
        "${{ inputs.team['0'] }}",
        """\
"['0']": an array is indexed with a number, not a string
  ${{ inputs.team['0'] }}
                 ^~~~~""",
    ),
    "key a number": (
        "${{ inputs[0] }}",
        """\
"[0]": object requires string key, not a number
  ${{ inputs[0] }}
            ^~~""",
    ),
    "index of a number": (
        "${{ inputs.count[0] }}",
        """\
"[0]": a number cannot be indexed
  ${{ inputs.count[0] }}
                  ^~~""",
    ),
    "string and number": (
        '${{ "hello" + 42 }}',
        """\
""hello" + 42": "+" needs two numbers or two strings, not a string and a number, use str() or num()
  ${{ "hello" + 42 }}
              ^""",
    ),
    "boolean and number": (
        "${{ true + 1 }}",
        """\
"true + 1": "+" needs two numbers or two strings, not a boolean and a number
  ${{ true + 1 }}
           ^""",
    ),
    "minus a string": (
        "${{ inputs.name - 1 }}",
        """\
"inputs.name - 1": "-" needs two numbers, not a string and a number
  ${{ inputs.name - 1 }}
                  ^""",
    ),
    "a negative string": (
        "${{ -'a' }}",
        """\
"-'a'": "-" needs a number, not a string
  ${{ -'a' }}
      ^~~~""",
    ),
    "division by zero": (
        "${{ (1 + 2) / (inputs.count - 2) }}",
        """\
"(1 + 2) / (inputs.count - 2)": division by zero
  ${{ (1 + 2) / (inputs.count - 2) }}
              ^""",
    ),
    "rest of a division by zero": (
        "${{ 1 % 0 }}",
        """\
"1 % 0": division by zero
  ${{ 1 % 0 }}
        ^""",
    ),
    "a number out of range": (
        "${{ 1e308*10 }}",
        """\
"1e308*10": the number is too large
  ${{ 1e308*10 }}
           ^""",
    ),
    "unknown function": (
        "${{ nofunc(1) }}",
        """\
"nofunc(1)": unknown function "nofunc", known: str, num, bool
  ${{ nofunc(1) }}
      ^~~~~~~~~""",
    ),
    "function misspelt": (
        "${{ boole(1) }}",
        """\
"boole(1)": unknown function "boole", did you mean "bool"?
  ${{ boole(1) }}
      ^~~~~~~~""",
    ),
    "function without brackets": (
        "${{ str }}",
        """\
"str": it is a function, write str(...)
  ${{ str }}
      ^~~""",
    ),
    "no argument": (
        "${{ str() }}",
        """\
"str()": str() needs one argument, not 0
  ${{ str() }}
      ^~~~~""",
    ),
    "not numeric": (
        "${{ num(inputs.name) }}",
        """\
"num(inputs.name)": "Kevin" is not a number
  ${{ num(inputs.name) }}
      ^~~~~~~~~~~~~~~~""",
    ),
    "number of an array": (
        "${{ num([]) }}",
        """\
"num([])": num() needs a string or a number, not an array
  ${{ num([]) }}
      ^~~~~~~""",
    ),
    "a key that is no string": (
        "${{ {(1 + 1): 1} }}",
        """\
"1 + 1": the key of an object must be a string, not a number
  ${{ {(1 + 1): 1} }}
          ^""",
    ),
    "a place in a string in the second line": (
        '"\n${{ "a ${{ q }}" }}',
        """\
"q": unknown name, known: env, inputs, steps, nowhere
  ${{ "a ${{ q }}" }}
             ^""",
    ),
}


@pytest.mark.parametrize(("template", "message"), MESSAGES.values(), ids=MESSAGES)
def test_evaluation_error_names_place_and_reason(template: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        expand(template, NAMES)

    assert str(caught.value) == f"evaluating expression failed at {message}"


@pytest.mark.parametrize("text", ["", " 1", "1 ", "0x1", "1_000", "inf", "nan", "--1", "1e", ".", "٣"])
def test_num_accepts_only_decimal_numbers(text: str) -> None:
    with pytest.raises(ExpressionError, match="is not a number"):
        expand("${{ num(t) }}", {"t": text})


def _twice(times: int) -> object:
    value: object = ["x"]
    for _ in range(times):
        value = [value, value]
    return value


def _deep(levels: int) -> object:
    value: object = "x"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("template", "names"),
    [
        pytest.param("${{ " + " + ".join(["a"] * 10_000) + " }}", {"a": "x" * 3_000}, id="one long text"),
        pytest.param("${{ a }}" * 10_000, {"a": "x" * 3_000}, id="many texts"),
        pytest.param("${{ " + " + ".join(["str(a)"] * 5_000) + " }}", {"a": ["x"] * 3_000}, id="texts of arrays"),
        pytest.param("${{ " + "==".join(["a"] * 10_000) + " }}", {"a": ["x"] * 3_000}, id="comparisons"),
        pytest.param("${{ a }}", {"a": _twice(60)}, id="a value that doubles"),
        pytest.param("${{ a < a }}", {"a": _twice(60)}, id="comparison of values that double"),
    ],
)
def test_evaluation_refuses_results_of_many_megabytes(template: str, names: dict[str, object]) -> None:
    with pytest.raises(ExpressionError, match="too much to compute, at most 16 MiB of text and values"):
        expand(template, names)


@pytest.mark.parametrize("template", ["${{ a }}", "${{ a == a }}", "${{ str(a) }}", "x${{ a }}", "${{ !a }}"])
def test_evaluation_refuses_deeply_nested_values(template: str) -> None:
    with pytest.raises(ExpressionError, match="the value is nested more than 100 levels deep"):
        expand(template, {"a": _deep(5_000)})
    with pytest.raises(ExpressionError, match="the value is nested more than 100 levels deep"):
        expand(_deep(5_000), {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("inf"), "the number is too large"),
        (float("nan"), "not a number"),
        (10**5_000, "the number is too large"),
        (b"x", "a value of the type bytes cannot be used"),
        ({1: "x"}, "the keys of an object are strings, not a number"),
    ],
    ids=["infinity", "not a number", "a large integer", "bytes", "a key that is no string"],
)
def test_evaluation_refuses_values_outside_json(value: object, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        expand("x ${{ a }}", {"a": value})
    with pytest.raises(ExpressionError, match=message):
        expand([value], {})  # type: ignore[list-item]
