"""From text to YAML nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from step_runner.errors import FunctionFileError
from step_runner.functions import document
from step_runner.functions.document import read_documents
from step_runner.functions.nodes import Mapping, Scalar, find, value_of

if TYPE_CHECKING:
    from step_runner.model import Value

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefghijklmno", "bcdefghijklmnop", strict=True)
)


def read(text: str) -> list[Value]:
    return [value_of(node) for node in read_documents(text, "step.yml", most=9).nodes]


def refusal(text: str) -> str:
    with pytest.raises(FunctionFileError) as caught:
        read_documents(text, "step.yml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        pytest.param("a: 1\n---\nb: [x, 2]\n", [{"a": 1}, {"b": ["x", 2]}], id="two documents"),
        pytest.param("\ufeffa: 1\n", [{"a": 1}], id="byte order mark"),
        pytest.param("a: 1\r\nb: |\r\n  x\r\n  y\r\n", [{"a": 1, "b": "x\ny\n"}], id="CRLF"),
        pytest.param("# one\na: 1 # two\n", [{"a": 1}], id="comments"),
        pytest.param('{"a": [1, "b", true, null]}', [{"a": [1, "b", True, None]}], id="JSON"),
        pytest.param("a: &x [1]\nb: *x\n", [{"a": [1], "b": [1]}], id="alias"),
        pytest.param("&k a: 1\nb: {*k : 2}\n", [{"a": 1, "b": {"a": 2}}], id="alias as a key"),
        pytest.param("- &x {p: 1, q: 2}\n- q: 3\n  <<: *x\n", [[{"p": 1, "q": 2}, {"q": 3, "p": 1}]], id="merge"),
        pytest.param("- <<: [{p: 1}, {p: 2, q: 2}]\n", [[{"p": 1, "q": 2}]], id="merge of several"),
        pytest.param('a: {"<<": 1}', [{"a": {"<<": 1}}], id="merge key in quotes is a key"),
        pytest.param("[!!str 5, !!float 5, ! 5, !!timestamp 2024-01-01]", [["5", 5, "5", "2024-01-01"]], id="tags"),
        pytest.param("1: a\ntrue: b\n", [{"1": "a", "true": "b"}], id="keys are texts"),
        pytest.param("a:\n", [{"a": None}], id="nothing is null"),
        pytest.param("", [], id="no document"),
        pytest.param("---\n---\n", [None, None], id="empty documents"),
    ],
)  # fmt: skip
def test_reader_returns_the_values_of_documents(text: str, values: list[Value]) -> None:
    assert read(text) == values


def test_reader_ignores_documents_beyond_the_limit() -> None:
    """The text after the second document need not even be valid YAML."""
    assert len(read_documents("a\n---\nb\n---\n}{", "step.yml").nodes) == 2


def test_alias_refers_to_anchor_of_earlier_document() -> None:
    """The definition may refer to a value of the specification."""
    text = "a: &x {p: 1}\n---\nb: *x\nc: {<<: *x, q: 2}\n"
    assert read(text) == [{"a": {"p": 1}}, {"b": {"p": 1}, "c": {"q": 2, "p": 1}}]


def test_reader_refuses_an_alias_of_a_later_anchor() -> None:
    """An anchor has no effect before its place."""
    assert refusal("a: *x\n---\nb: &x 1\n").startswith('step.yml:1:4: "*x" refers to another value, but')


PAIRS = [
    (r'["\ud83d\ude00 \uD83D\uDE00", x]', ["\U0001f600 \U0001f600", "x"]),
    (r'{"\ud83d\ude00": 1}', {"\U0001f600": 1}),
    (r"['\ud83d\ude00', \ud83d\ude00]", [r"\ud83d\ude00"] * 2),
    (r'["\\ud83d\\ude00", "\ud83d\ude00"]', [r"\ud83d\ude00", "\U0001f600"]),
]


@pytest.mark.parametrize(("text", "value"), PAIRS)
def test_surrogate_pair_in_double_quotes_is_one_character(text: str, value: Value) -> None:
    """JSON writes characters beyond U+FFFF as pairs, and JSON is YAML."""
    assert read(text) == [value]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (r'["\ud83d"]', r'1:3: "\ud83d" is half of a surrogate pair, '),
        (r'["\ude00"]', r'1:3: "\ude00" is half of a surrogate pair, '),
        (r'["\ud83d\ude00", "\ud83d"]', "1:18: the text holds half of a surrogate pair, "),
        (r'["\U00110000"]', r'1:3: "\U00110000" is not a valid escape: '),
        (r'["\ud83d\ude00", "\U00110000"]', r'1:19: "\U00110000" is not a valid escape: '),
        (r'["\ud83d\ude00", "\UFFFFFFFF"]', r'1:19: "\UFFFFFFFF" is not a valid escape: '),
    ],
)
def test_reader_refuses_escape_outside_unicode(text: str, message: str) -> None:
    """Half a pair is not a character; a number beyond U+10FFFF is not one either."""
    assert refusal(text).startswith(f"step.yml:{message}")


def test_places_are_right_after_surrogate_pairs() -> None:
    """A problem after a pair is reported at its place in the file."""
    (root,) = read_documents(r'{"a": "\ud83d\ude00", "b": 1}', "step.yml").nodes
    assert (find(root, "b").line, find(root, "b").column) == (1, 28)


def test_nodes_have_lines_and_columns() -> None:
    (root,) = read_documents("a: 1\nb:\n  - 'ä': x\n    c: y\n", "step.yml").nodes

    assert isinstance(root, Mapping)
    assert (root.entries["b"].key.line, root.entries["b"].key.column) == (2, 1)
    item = find(root, "b", 0, "c")
    assert (item.line, item.column) == (4, 8)


def test_reader_reports_each_repeated_key_with_both_lines() -> None:
    problems = read_documents("a: 1\nb: {c: 1, c: 2}\na: 2\n", "step.yml").problems

    assert [str(problem) for problem in problems] == [
        'step.yml:2:11: "c" is given twice, here and in line 2; remove one of them',
        'step.yml:3:1: "a" is given twice, here and in line 1; remove one of them',
    ]


def test_reader_reports_a_repeated_merge_key() -> None:
    """Two `<<` in one mapping are a mistake, like any repeated key."""
    problems = read_documents("- &a {p: 1}\n- <<: *a\n  <<: *a\n", "step.yml").problems
    assert [str(problem) for problem in problems] == [
        'step.yml:3:3: "<<" is given twice, here and in line 2; merge a list: <<: [*first, *second]'
    ]


def test_scalars_keep_their_text() -> None:
    (root,) = read_documents("[2.50, 'x', yes, 010]", "step.yml").nodes

    items = [find(root, index) for index in range(4)]
    assert [item.text for item in items if isinstance(item, Scalar)] == ["2.50", "x", "yes", "010"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b\n\tc: d", "2:1: a tab cannot be used for indentation; use spaces"),
        ("a:\n\t- b", "2:1: a tab cannot be used for indentation; use spaces"),
        ("a: |\n\t b\n", "2:1: a tab cannot be used for indentation; use spaces"),
        ("a: 'x\nb: 1", "1:4: the quotes that are opened here are not closed; close them"),
        ("a: [1,\nb: 2", '2:5: "[" of line 1 is not closed; add "]", or "," between two items'),
        ("a: b: c", '1:5: a second ": " in one line; put the value in quotes'),
        (
            "a:\n  b: 1\n c: 2",
            "3:2: the indentation of this line fits none of the lines before; line it up with line 1, column 1, "
            "or indent it as a value",
        ),
        ("a: @x", '1:4: a value cannot begin with "@"; put it in quotes'),
        ("a: **.x", '1:5: a value that begins with "*" or "&" must be in quotes'),
        ("a: [${{ x }}]", "1:6: put text with ${{ }} in quotes when it is inside of [ ] or { }"),
        ("a: {{ x }}", "1:5: a key is a mapping, not a text; put text with braces in quotes"),
        ("a: |x\n", '1:5: only a comment may follow "|" or ">"; put the text on the next lines and indent it'),
        ("a: !foo bar", '1:4: the tag "!foo" is not valid here; remove it, or put the value in quotes'),
        ("a: !!set {}", '1:4: the tag "!!set" is not valid here; remove it, or put the value in quotes'),
        ("a: !!int x", '1:4: "x" is not a valid value for the tag "!!int"'),
        ("a: \x01", '1:4: the character U+0001 is not allowed; remove it or write "\\u" and its number'),
        ("a: \ud800", '1:4: the character U+D800 is not allowed; remove it or write "\\u" and its number'),
        ("a: {", "1:5: the text ends where a value must follow; close every bracket, brace and quote"),
        ("a: 1\n}\n", '2:1: "}" has no opening bracket; remove it'),
        ("a: 'it's'", "1:8: text follows the closing quotes; put quotes around the whole value"),
        ('a: "\\q"', '1:5: "\\q" is not a valid escape: write "\\\\" for a backslash, or use single quotes'),
        ("a: - b", '1:4: a list item is not valid here: put each "- item" on a line of its own'),
        ("- a\n-b: x\n", '2:1: a blank is missing after the dash; write "- b"'),
        ("a:\n  -b: x\n   c: y", '3:5: a blank is missing after the dash in the line before; write "- b"'),
        ("a: &a [*a]", '1:8: "*a" is inside the value that it refers to: remove it'),
        ("a: {<<: 1}", '1:9: only a mapping can be merged with "<<"'),
    ],
)  # fmt: skip
def test_reader_explains_invalid_yaml(text: str, message: str) -> None:
    assert refusal(text) == f"step.yml:{message}"


CHAIN = "- &a0 [x]\n" + "".join(f"- &a{number} [*a{number - 1}]\n" for number in range(1, 9999))
MERGES = "- &a {" + ",".join(f"k{number}: 1" for number in range(1000)) + "}\n" + "- <<: *a\n" * 9999
STAIRS = "".join(" " * level + "a:\n" for level in range(2700))
REPEATED = "a: &a " + "x" * 1_000_000 + "\nb: [" + "*a," * 1000 + "]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[" * 3_900_000, "deeper than 100 levels", id="brackets"),
        pytest.param("- " * 1_900_000, "deeper than 100 levels", id="lists"),
        pytest.param("{a: " * 10_000, "deeper than 100 levels", id="braces"),
        pytest.param("? " * 10_000, "deeper than 100 levels", id="keys"),
        pytest.param(STAIRS, "deeper than 100 levels", id="indentation"),
        pytest.param(CHAIN, "deeper than 100 levels", id="chain of aliases"),
        pytest.param(BOMB, "more than 250000 values", id="alias bomb"),
        pytest.param(REPEATED, "more than 250000 values", id="long text repeated"),
        pytest.param(MERGES, "more than 250000 values", id="merge bomb"),
        pytest.param("[" + "1," * 1_900_000 + "1]", "more than 250000 values", id="long list"),
    ],
)
def test_reader_refuses_hostile_texts(text: str, message: str) -> None:
    """Reading takes time in proportion to the text; otherwise this takes minutes, and the test's timeout ends it."""
    assert message in refusal(text)


def test_reader_accepts_a_large_text() -> None:
    text = "a: |\n" + "  echo hello world\n" * 205_000

    assert len(text) > 3_800_000
    assert len(read_documents(text, "step.yml").nodes) == 1


def test_reader_accepts_a_hundred_levels() -> None:
    assert len(read("[" * 100 + "]" * 100)) == 1


@pytest.mark.parametrize("text", ["a: 1\nb: [x, 'y']\n---\nc: |\n  d\n", "a: &x {p: 1}\nb: {<<: *x}"])
def test_reader_returns_the_same_without_the_c_library(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read(text)
    monkeypatch.setattr(document, "Loader", yaml.Loader)

    assert read(text) == expected


def test_c_library_is_installed() -> None:
    """Without it reading takes eight times as long."""
    assert document.Loader is yaml.CLoader
