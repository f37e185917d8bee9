"""The JSON Schema for editors."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from tests.support.here import step_runner

from step_runner.functions.schema import text

CHECKED_IN = Path(__file__).parents[2] / "schema" / "function.json"
SCHEMA = json.loads(text())


def test_schema_file_equals_output_of_program() -> None:
    """The file equals the output of `make schema`."""
    assert CHECKED_IN.read_text(encoding="utf-8") == text()


def test_schema_is_valid_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_schema_describes_every_key() -> None:
    for name, definition in SCHEMA["$defs"].items():
        assert definition["description"], name
        for key, schema in definition.get("properties", {}).items():
            assert schema.get("description"), f"{name}.{key}"


def test_command_prints_schema_file() -> None:
    """The program contains the schema and needs no other file."""
    assert step_runner("schema") == (0, CHECKED_IN.read_text(encoding="utf-8"), "")


EXAMPLES = sorted(Path(__file__).parents[2].glob("examples/**/*.yml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_schema_accepts_every_example(path: Path) -> None:
    """Every example of this project is valid by the schema."""
    for document in yaml.safe_load_all(path.read_text()):
        assert complaints(document) == []


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        ({"run": [{"name": "a", "func": 5}]}, "run.0.func", "5 is not of type 'string', 'object'"),
        ({"run": [{"name": "a", "func": {"git": {"url": "x"}}}]}, "run.0.func.git", "'rev' is a required property"),
        ({"run": [{"name": "a", "func": {"oci": {"tag": 1}}}]}, "run.0.func.oci", "'registry' is a required property"),
        (
            {"run": [{"name": "a", "script": ["x"]}]},
            "run.0.script",
            "['x'] is not of type 'string', 'number', 'boolean'",
        ),
        ({"run": [{"name": "a"}]}, "run.0", "'func' is a required property"),
        ({"run": [{"name": "a", "script": "x", "func": "./a"}]}, "run.0", "False schema does not allow 'x'"),
        ({"exec": {"command": "x"}}, "exec.command", "'x' is not of type 'array'"),
        ({"spec": {"inputs": {"a": {"type": "text"}}}}, "spec.inputs.a.type", "'text' is not one of "),
        ({"spec": {"outputs": "all"}}, "spec.outputs", "'all' is not one of ['delegate']"),
        ({"spec": {}, "run": []}, "", "Additional properties are not allowed ('run' was unexpected)"),
        ({"exec": {"command": ["a"], "directory": "x"}}, "exec", "Additional properties are not allowed ('directory'"),
        ({"run": [{"name": "a", "script": "x", "if": "y"}]}, "run.0", "Additional properties are not allowed ('if'"),
        ({"spec": {"inputs": {"a": {"type": "string", "options": []}}}}, "spec.inputs.a", "Additional properties "),
    ],
)
def test_schema_reports_form_closest_to_the_value(document: object, path: str, message: str) -> None:
    """If a value may have several forms, the first complaint is about the form that was meant."""
    where, sentence = complaints(document)[0]
    assert where == path
    assert sentence.startswith(message)


def complaints(document: object) -> list[tuple[str, str]]:
    """Return the path and the message of each error that the schema finds."""
    found = jsonschema.Draft202012Validator(SCHEMA).iter_errors(document)
    return [(".".join(map(str, error.absolute_path)), error.message) for error in found]
