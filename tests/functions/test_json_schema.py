"""The JSON Schema for editors."""

from __future__ import annotations

from pathlib import Path

import jsonschema

from step_runner.functions.json_schema import json_schema, text

CHECKED_IN = Path(__file__).parents[2] / "schema" / "function.json"


def test_the_checked_in_file_is_the_generated_one() -> None:
    """`python -m step_runner.functions.json_schema` writes it anew."""
    assert CHECKED_IN.read_text(encoding="utf-8") == text()


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_every_key_is_described_for_hovering() -> None:
    for name, definition in json_schema()["$defs"].items():
        assert definition["description"], name
        for key, schema in definition["properties"].items():
            assert schema.get("description"), f"{name}.{key}"
