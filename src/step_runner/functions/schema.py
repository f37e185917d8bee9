"""The JSON Schema of step files: schema.json next to this module. Editors and the decoder both follow it.

The keywords that begin with `x-` are ours:

- `x-advice` says what to write instead, `x-missing` what to add.
- `x-each` names the items of a list or mapping.
- `x-null` is the value that null means.
- `x-name` marks a rule for names that does not apply to a bare run list.
- `x-never` says why some words are not allowed, `x-refused` why a key is not supported.
- `x-strict` makes an unknown key an error.
- `x-without` is the message for a mapping that has none of its alternative keys.
- `x-foreign` holds keys of other systems with what to write instead.

`format` names a further check in `rules`.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec

if TYPE_CHECKING:
    from importlib.abc import ResourceLoader

Schema: TypeAlias = dict[str, Any]


def text() -> str:
    """Return the schema as it is published."""
    loader = cast("ResourceLoader", __spec__.loader)  # the single file holds it, so open() cannot read it
    return loader.get_data(os.path.join(os.path.dirname(__file__), "schema.json")).decode()


@functools.cache
def definitions() -> dict[str, Schema]:
    """Return the schemas that have a name."""
    found: dict[str, Schema] = msgspec.json.decode(text())["$defs"]
    return found


def resolved(schema: Schema) -> Schema:
    """Return a schema with its reference replaced by the named schema; its own keywords override those."""
    if "$ref" not in schema:
        return schema
    named = resolved(definitions()[schema["$ref"].removeprefix("#/$defs/")])
    return {**named, **{key: value for key, value in schema.items() if key != "$ref"}}


def forms(schema: Schema) -> dict[str, Schema]:
    """Return the schema of each JSON type that a value may have."""
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    found = dict.fromkeys(types, schema)
    if "if" in schema:
        special = schema["if"]["type"]
        rest = {key: value for key, value in schema.items() if key not in ("if", "then")}
        found = {**dict.fromkeys(types, rest), special: {**resolved({**rest, **schema["then"]}), "type": special}}
    return found


def exactly_one(schema: Schema) -> tuple[str, ...]:
    """Return the alternative keys of a mapping: it must have one. The rule for a mapping without any lists them."""
    negated = (rule["if"].get("not", {}) for rule in schema.get("allOf", ()))
    return tuple(key for one in negated for other in one.get("anyOf", ()) for key in other["required"])


def apart(schema: Schema) -> list[tuple[str, str]]:
    """Return the pairs of keys that cannot be used together: a rule for the first forbids the second."""
    return [
        (rule["if"]["required"][0], key)
        for rule in schema.get("allOf", ())
        for key, allowed in rule["then"].get("properties", {}).items()
        if allowed is False
    ]
