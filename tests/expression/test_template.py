"""Texts and values expand as each row of the language's description says."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING

import pytest

from step_runner.errors import ExpressionError
from step_runner.expression import (
    Secret,
    escape_template,
    expand,
    expand_text,
    has_expression,
    is_secret,
    reveal,
)
from step_runner.expression.template import Template

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES: dict[str, object] = {
    "vars": {"CI_COMMIT_REF_NAME": "main", "N": "7", "EMPTY": ""},
    "env": {"MOVIE": "tron", "WHERE": "inside", "PATH": "/bin", "X": "${{ env.MOVIE }}"},
    "inputs": {
        "name": "Kevin Flynn",
        "light_cycle": {"color": "yellow", "number": 3},
        "team": ["tron", "ram", "flynn"],
        "count": 2,
        "flag": False,
        "none": None,
    },
    "steps": {
        "build": {"outputs": {"total": 5, "items": ["a", "b"], "image_ref": "r/i:1", "x-y": "d"}},
    },
    "work_dir": "/w",
    "func_dir": "/f",
    "step_dir": "/f",
    "job": {"job_id": "1982"},
    "s": Secret("hunter2"),
}

VECTORS: list[tuple[str, object, object]] = [
    ("1", "${{job.job_id}}", "1982"),
    ("2", "${{  job.job_id  }}", "1982"),
    ("3", "${{ job.job_id }}:${{ env.MOVIE }}", "1982:tron"),
    ("4", "${{ job.nope }}", ExpressionError),
    ("5", "${{ job.job_id", ExpressionError),
    ("6", "${{ job.job_id }} }}", "1982 }}"),
    ("7", '{"a":{"b":1}}', '{"a":{"b":1}}'),
    ("8", "${{inputs.light_cycle}}", {"color": "yellow", "number": 3}),
    ("9 and 10", "P ${{inputs.light_cycle}} S", 'P {"color": "yellow", "number": 3} S'),
    ("11", "${{inputs.team}}", ["tron", "ram", "flynn"]),
    ("12", "x${{inputs.team}}", 'x["tron", "ram", "flynn"]'),
    ("13", "${{inputs.light_cycle.color}}", "yellow"),
    ("14", "${{inputs.team.0}}", ExpressionError),
    ("15", "${{inputs.team[0]}}", "tron"),
    ("16", "${{inputs.team[3]}}", ExpressionError),
    ("17", "${{inputs.count}}", 2),
    ("18", "n=${{inputs.count}}", "n=2"),
    ("19", "${{inputs.flag}}", False),
    ("20", "f=${{inputs.flag}}", "f=false"),
    ("21", "", ""),
    ("22", r"\${{ env.MOVIE }}", "${{ env.MOVIE }}"),
    ("23", "cost $5 ${x}", "cost $5 ${x}"),
    ("24", "echo $", "echo $"),
    ("25", "${{ work_dir }}", "/w"),
    ("26", "${{ env }}", NAMES["env"]),
    ("27", "${{ env.PATH.x }}", ExpressionError),
    ("28", "${{ func_dir }}", "/f"),
    ("29", "${{ step_dir }}", "/f"),
    ("30", "${{ vars.N }}", "7"),
    ("31", '${{ env["MOVIE"] }}', "tron"),
    ("32", "${{ true }}", True),
    ("33", "${{ null }}", None),
    ("34", "${{ str(null) }}", "<null>"),
    ("35", "${{ 42 }}", 42),
    ("36", "${{ 1.5e3 }}", 1500),
    ("37", "${{ 2E-4 }}", 0.0002),
    ("38", "${{ 2 + 3 }}", 5),
    ("39", '${{ "a" + "b" }}', "ab"),
    ("40", '${{ "hello" + 42 }}', ExpressionError),
    ("41", "${{ 10 / 3 }}", 3.3333333333333335),
    ("42", "${{ 10 % 3 }}", 1),
    ("43", "${{ -7 % 3 }}", -1),
    ("44", "${{ 1 / 0 }}", ExpressionError),
    ("45", "${{ 1 + 2 * 3 }}", 7),
    ("46", "${{ (1 + 2) * 3 }}", 9),
    ("47", "${{ 10 - 4 - 3 }}", 3),
    ("48 plus", "${{ +5 }}", 5),
    ("48 minus", "${{ -5 }}", -5),
    ("49", "${{ !true }}", False),
    ("50", '${{ !"" }}', True),
    ("51", '${{ -"a" }}', ExpressionError),
    ("52", '${{ 1 == "1" }}', False),
    ("53", '${{ 1 != "1" }}', True),
    ("54", "${{ null == null }}", True),
    ("55", '${{ "a" < "b" }}', True),
    ("56", "${{ false < true }}", True),
    ("57", "${{ [1,2] < [1,3] }}", True),
    ("58", "${{ {a:1,b:2} == {b:2,a:1} }}", True),
    ("59", '${{ "" || "default" }}', "default"),
    ("60", "${{ 0 || [] || {} || null }}", None),
    ("61", '${{ "x" && 5 }}', 5),
    ("62", "${{ 0 && nope }}", 0),
    ("63", '${{ vars.CI_COMMIT_REF_NAME == "main" && "production" || "staging" }}', "production"),
    ("64", '${{ (vars.CI_COMMIT_REF_NAME == "main" && 5) || 2 }}', 5),
    ("65", "${{ steps.build.outputs.total == 5 && inputs.count < 5 }}", True),
    ("66", '${{ str(steps.build.outputs.total + 1) + ".0.0" }}', "6.0.0"),
    ("67", "${{ steps.build.outputs.items[1] }}", "b"),
    ("68", '${{ steps.build.outputs["x-y"] }}', "d"),
    ("69", "${{ steps.build.outputs.x-y }}", ExpressionError),
    ("70", "${{ steps.nope.outputs.x }}", ExpressionError),
    ("71", '${{ vars.NOPE || "d" }}', ExpressionError),
    ("72", '${{ vars.EMPTY || "d" }}', "d"),
    ("73", '${{ inputs.none || "d" }}', "d"),
    ("74", "${{ [1, 2, 3,] }}", [1, 2, 3]),
    ("75", '${{ {name: "runner", version: 1,} }}', {"name": "runner", "version": 1}),
    ("76", '${{ {"string-key": true} }}', {"string-key": True}),
    ("77", '${{ {(vars.N): "v"} }}', {"7": "v"}),
    ("78", '${{ {(inputs.count): "v"} }}', ExpressionError),
    ("79", r'${{ "Hello\nWorld" }}', "Hello\nWorld"),
    ("80", r"${{ 'It\'s' }}", "It's"),
    ("81", r"${{ 'a\nb' }}", r"a\nb"),
    ("82", "${{ 'Literal ${{ not evaluated }}' }}", "Literal ${{ not evaluated }}"),
    ("83", '${{ "m=${{ env.MOVIE }}" }}', "m=tron"),
    ("84", r'${{ "\${{ x }}" }}', "${{ x }}"),
    ("85", r'${{ "\u0041" }}', "A"),
    ("86", '${{ num("3.14") }}', 3.14),
    ("87", '${{ num("abc") }}', ExpressionError),
    ("88 empty", '${{ bool("") }}', False),
    ("88 one", "${{ bool(1) }}", True),
    ("89", "${{ str(true) }}", "true"),
    ("90", "${{ nofunc(1) }}", ExpressionError),
    ("91", "${{ for }}", ExpressionError),
    ("92", "${{ Env.MOVIE }}", ExpressionError),
    ("93", " ${{ inputs.count }}", " 2"),
    ("94", ["${{inputs.name}}", 1], ["Kevin Flynn", 1]),
    ("95", {"k": {"d": "${{inputs.count}}"}}, {"k": {"d": 2}}),
    ("96", "${{env.X}}", "${{ env.MOVIE }}"),
    ("97", "${{ 1 < 2 == true }}", True),
    ("98", '${{ "x" + s }}', Secret("xhunter2")),
]

MORE: list[tuple[str, object, object]] = [
    ("a list in a block scalar", "${{ [1,\n 2] }}\n", [1, 2]),
    ("a map between blanks", " \n${{ {a: 1} }}\t", {"a": 1}),
    ("a list that is not alone", "${{ [1] }}${{ [2] }}", "[1][2]"),
    ("a string in a block scalar", "${{ env.MOVIE }}\n", "tron\n"),
    ("null in a text", "<${{ null }}>", "<<null>>"),
    ("null in an array in a text", "${{ [null, 1.0, 'ü\"'] }}.", '[null, 1, "ü\\""].'),
    ("an object that ends at the end", "${{ {a: {b: 1}}}}", {"a": {"b": 1}}),
    ("closing braces in a string", "${{ '}}' + \"}}\" }}", "}}}}"),
    ("keys are not expanded", {"${{ env.MOVIE }}": 1}, {"${{ env.MOVIE }}": 1}),
    ("strings inside of strings", '${{ "a ${{ "b ${{ env.MOVIE }}" }} c" }}', "a b tron c"),
    ("a number in a string", '${{ "${{ inputs.count }}" }}', "2"),
    ("a backslash before an escape", r"\\${{ x }}", r"\${{ x }}"),
    ("a backslash that escapes itself", r'${{ "\\${{ env.MOVIE }}" }}', r"\tron"),
    ("dollars before an expression", "$${${{ 1 }}", "$${1"),
    ("dollars in a string", '${{ "$5 ${x} $" }}', "$5 ${x} $"),
    ("every escape", r'${{ "\\\"\n\r\t\a\b\f\v\/" }}', '\\"\n\r\t\a\b\f\v/'),
    ("a pair of surrogates", r'${{ "\uD83D\ude00" }}', "\N{GRINNING FACE}"),
    ("letters of all languages", "${{ {größe: 1}.größe }}", 1),
    ("a reserved word as an attribute", "${{ {default: 1}.default }}", 1),
    ("the last of two equal keys", "${{ {a: 1, a: 2} }}", {"a": 2}),
    ("JSON", '${{ {"a": [1, -2.5e3, true, null], "b": {}} }}', {"a": [1, -2500, True, None], "b": {}}),
    ("a value that needs nothing", {"a": [None, 1.5, "x"]}, {"a": [None, 1.5, "x"]}),
]


@pytest.mark.parametrize(("template", "expected"), [pytest.param(*row[1:], id=row[0]) for row in VECTORS + MORE])
def test_template_expands_to_its_value(template: object, expected: object) -> None:
    if expected is ExpressionError:
        with pytest.raises(ExpressionError):
            expand(template, NAMES)  # type: ignore[arg-type]
        return
    result = expand(template, NAMES)  # type: ignore[arg-type]

    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("${{ null }}", "<null>"),
        ("${{ 2.0 }}", "2"),
        ("${{ inputs.team }}\n", '["tron", "ram", "flynn"]\n'),
        ("${{ true }}", "true"),
        (r"\${{ x }} $5", "${{ x }} $5"),
    ],
)
def test_template_expands_to_text_for_a_text(template: str, expected: str) -> None:
    assert expand_text(template, NAMES) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("${{ a }}", True), ("x ${{", True), (r"\${{ a }}", False), ("${ { a }}", False), (r"\${{ ${{", True)],
)
def test_has_expression_ignores_escapes(text: str, expected: bool) -> None:
    assert has_expression(text) is expected


def test_escaped_template_expands_to_the_text() -> None:
    assert escape_template(r"a ${{ b }} \${{ c") == r"a \${{ b }} \\${{ c"
    assert expand_text(escape_template(r"a ${{ b }} \${{ c"), {}) == r"a ${{ b }} \${{ c"


def test_result_shares_no_value_with_contexts() -> None:
    names = {"inputs": {"team": ["tron"]}}

    result = expand("${{ inputs }}", names)
    assert isinstance(result, dict)
    result["team"] = []

    assert names == {"inputs": {"team": ["tron"]}}


def test_short_template_is_parsed_once() -> None:
    assert Template.read("${{ 1 }} once") is Template.read("${{ 1 }} once")
    assert Template.read("${{ 1 }}" * 1_000) is not Template.read("${{ 1 }}" * 1_000)


@pytest.mark.parametrize("function", [expand, expand_text])
def test_small_remaining_stack_gives_usual_error(
    function: Callable[[str, dict[str, object]], object],
) -> None:
    """A caller that leaves little of the stack gets an error of the expression, not a RecursionError."""

    def descend(levels: int) -> object:
        return descend(levels - 1) if levels else function(f"${{{{ {'-' * 99}1 }}}}", {})

    with pytest.raises(ExpressionError, match="nested too deeply for the stack that is left"):
        descend(sys.getrecursionlimit() - len(inspect.stack(0)) - 150)


SECRETS: dict[str, object] = {
    "s": Secret("hunter2"),
    "n": Secret(7),
    "login": {"token": Secret("hunter2"), "user": "flynn"},
    "all": Secret({"token": "hunter2", "hunter2": "x", "list": ["hunter2"]}),
    "list": ["tron", Secret("hunter2")],
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("${{ s }}", "hunter2"),
        ("a ${{ s }}", "a hunter2"),
        (' ${{ "a${{ s }}" }}', " ahunter2"),
        ("${{ n + 1 }}", 8),
        ("${{ -n }}", -7),
        ("${{ n == 7 }}", True),
        ("${{ s < 'z' }}", True),
        ("${{ !s }}", False),
        ("${{ str(n) }}", "7"),
        ("${{ bool(s) }}", True),
        ("${{ s && 1 }}", 1),
        ("${{ s && list[0] }}", "tron"),
        ("${{ s || 1 }}", "hunter2"),
        ("${{ !s || 1 }}", 1),
        ("${{ login.token }}", "hunter2"),
        ("${{ login }}", {"token": "hunter2", "user": "flynn"}),
        ("${{ login == {} }}", False),
        ("${{ all.list }}", ["hunter2"]),
        ("${{ all.list[0] }}", "hunter2"),
        ("${{ all['token'] }}", "hunter2"),
        ("${{ {hunter2: [1]}[s] }}", [1]),
        ("${{ [0, 1, 2, 3, 4, 5, 6, 'x'][n] }}", "x"),
        ("${{ {(s): 1} }}", {"hunter2": 1}),
        ("${{ [s] }}", ["hunter2"]),
        ("${{ {a: {b: s}} }}", {"a": {"b": "hunter2"}}),
        (["x", {"a": "${{ s }}"}], ["x", {"a": "hunter2"}]),
    ],
    ids=str,
)
def test_value_computed_from_secret_is_secret(template: object, expected: object) -> None:
    result = expand(template, SECRETS)  # type: ignore[arg-type]

    assert result == Secret(expected)  # type: ignore[arg-type]
    assert is_secret(result)
    assert reveal(result) == expected
    assert "hunter2" not in repr(result)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("${{ login.user }}", "flynn"),
        ("${{ list[0] }}", "tron"),
        ("${{ [s, 1][1] }}", 1),
        ("${{ true || s }}", True),
        ("${{ {flynn: [1]}[login.user] }}", [1]),
    ],
)
def test_value_near_secret_is_not_secret(template: str, expected: object) -> None:
    assert expand(template, SECRETS) == expected


@pytest.mark.parametrize(
    "template",
    [
        "${{ num(s) }}",
        "${{ s + 1 }}",
        "${{ -s }}",
        "${{ s.x }}",
        "${{ s[0] }}",
        "${{ login[s] }}",
        "${{ all.hunter }}",
        "${{ all.toke }}",
        "${{ all['hunter1'] }}",
        "${{ list[n] }}",
        "${{ all.list[5] }}",
        "${{ {(n): 1} }}",
        "a ${{ 1 / (n - 7) }}",
    ],
)
def test_errors_hide_secrets(template: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        expand(template, SECRETS)

    assert "hunter2" not in str(caught.value).replace(template, "")
    assert "token" not in str(caught.value)
    assert caught.value.__cause__ is None
