"""`check` reports calls of builtin functions, before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.steps import run_list

from step_runner.functions.check import check_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GREET = """
from typing import TypedDict

class Greeting(TypedDict):
    text: str

def greet(name: str, times: int = 2) -> Greeting: ...
"""


def problems(function: str, inputs: dict[str, object], output: str = "text") -> list[str]:
    """The messages for a step that calls a function, and one that uses its output."""
    steps = run_list(
        {"name": "a", "func": f"builtin://{function}", "inputs": inputs},
        {"name": "b", "script": f"echo ${{{{ steps.a.outputs.{output} }}}}"},
    )
    return [str(one).removeprefix("f:3:").partition(": ")[2] for one in check_text(steps, file="f")]


@pytest.mark.parametrize(
    ("inputs", "output", "found"),
    [
        ({"name": "Ada"}, "text", []),
        ({"name": "${{ env.USER }}", "times": 3}, "text", []),
        ({}, "text", ['"builtin://greet" requires an input "name", a string; add it under inputs']),
        (
            {"name": "Ada", "tiems": 3},
            "text",
            ['"builtin://greet" takes no input "tiems"; did you mean "times"?'],
        ),
        (
            {"name": 5},
            "text",
            ['warning: input "name" is a number, but "builtin://greet" declares the type string'],
        ),
        ({"name": "Ada"}, "txt", ['step "a" has no output "txt"; did you mean "text"?']),
    ],
    ids=["right", "expression", "missing", "unknown", "type", "output"],
)
def test_inputs_and_outputs_follow_signature(
    install: Callable[..., Path], inputs: dict[str, object], output: str, found: list[str]
) -> None:
    install("demo", GREET, {"greet": "greet"})
    assert problems("greet", inputs, output) == found


def test_own_functions_are_known() -> None:
    assert problems("function/oci/publish", {"archive": "a"}, "ref") == [
        '"builtin://function/oci/publish" requires an input "to_repository", a string; add it under inputs'
    ]


def test_script_may_have_outputs_of_any_name() -> None:
    assert problems("script", {"script": "echo"}, "anything") == []
    assert problems("script", {}, "anything") == [
        '"builtin://script" requires an input "script", a string; add it under inputs'
    ]


def test_missing_package_causes_only_a_warning() -> None:
    (found,) = problems("demo/none", {})
    assert found.startswith('warning: fetching builtin function: "demo/none" not found; ')


def test_unusable_function_of_a_package_is_an_error(install: Callable[..., Path]) -> None:
    """A function whose package is installed, but cannot be used, is an error."""
    install("demo", "import none_such\n", {"greet": "greet"})
    (found,) = problems("greet", {})
    assert found.startswith('fetching builtin function: "greet" (demo 1.0, demo:greet): it cannot be imported: ')
