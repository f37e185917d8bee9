"""The values of a function's inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from step_runner.errors import InputError
from step_runner.functions.call import typed_input
from step_runner.model import Local, Parameter, Spec, Step, ValueType
from step_runner.runner.binding import expand_inputs

if TYPE_CHECKING:
    from step_runner.model import Value

SPEC = Spec(inputs={kind.value: Parameter(type=kind) for kind in ValueType})
SCOPE = {"vars": {"N": "5", "X": "${{ vars.N }}"}}


def bound(argument: str) -> dict[str, object]:
    """Return the inputs of `--inputs ARGUMENT`."""
    name, _, text = argument.partition("=")
    typed = {name: typed_input(name, text)}
    step = Step(name="a", call=Local(path="."), inputs={"string": "from the file"}, typed=typed)
    return dict(expand_inputs(step, SPEC, SCOPE))


@pytest.mark.parametrize(
    "text",
    [
        "1.10",
        "010",
        "Ada: x",
        "",
        "true",
        "null",
        "~",
        "'5'",
        "[1",
        "{a: 1}",
        "2024-01-01",
        "a: b: c",
        "@x",
        " x ",
        "#",
    ],
)
def test_typed_string_is_the_text(text: str) -> None:
    """The text of a string input is not parsed as YAML, whatever it looks like."""
    assert bound(f"string={text}") == {"string": text}


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("number=0x10", 16),
        ("number=2.50", 2.5),
        ("boolean=true", True),
        ("array=[1, a]", [1, "a"]),
        ("struct={a: {b: 1}}", {"a": {"b": 1}}),
        ("number=${{ num(vars.N) }}", 5),
        ("array=['${{ vars.N }}']", ["5"]),
    ],
)
def test_typed_value_of_other_type_is_yaml(argument: str, value: Value) -> None:
    """A number, boolean, list or mapping is parsed as YAML."""
    assert bound(argument)[argument.partition("=")[0]] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("${{ vars.N }}", "5"), ("v${{ 1 }}", "v1"), ("${{ 1 }}", "1"), ("${{ vars.X }}", "${{ vars.N }}")],
)
def test_expression_in_typed_string_becomes_text(text: str, value: str) -> None:
    """It remains a string, and is not expanded again."""
    assert bound(f"string={text}") == {"string": value}


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("number=abc", 'input "number" is a string, but its declared type is number'),
        ("number=", 'input "number" is null, but its declared type is number'),
        ("boolean=yes", 'input "boolean" is a string, but its declared type is boolean'),
        ("array={a: 1}", 'input "array" is a struct, but its declared type is array'),
        ("struct=[1", 'input "struct" is declared as struct, but its value is not YAML: struct:1:3: '),
        ("number=${{ vars.N }}", 'input "number" is a string, but its declared type is number'),
        ("other=1", 'step does not accept input with name "other"'),
    ],
)
def test_typed_value_of_wrong_type_is_refused(argument: str, sentence: str) -> None:
    """A typed input must have the declared type, before and after its expansion."""
    with pytest.raises(InputError) as caught:
        bound(argument)
    assert str(caught.value).startswith(sentence)
