"""The JSON Schema of step files: schema.json beside this module, which editors and the decoder follow alike.

The keywords that begin with `x-` are ours: `x-advice` says what to write instead, `x-missing` what to add, `x-each`
names the items of a list or mapping, `x-null` is what null means, `x-name` marks names that a bare run list need not
keep to, `x-never` is why some words are not allowed, `x-refused` why a key is not supported, `x-strict` makes an
unknown key an error, `x-without` says that a mapping has none of the keys of which it must have one, and `x-foreign`
holds keys of other systems with what to write instead. `format` names what `rules` checks further.
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
    loader = cast("ResourceLoader", __spec__.loader)  # in the single file there is no file system to open it from
    return loader.get_data(os.path.join(os.path.dirname(__file__), "schema.json")).decode()


@functools.cache
def definitions() -> dict[str, Schema]:
    """Return the schemas that have a name."""
    found: dict[str, Schema] = msgspec.json.decode(text())["$defs"]
    return found


def resolved(schema: Schema) -> Schema:
    """Return a schema with what it refers to; its own keywords win."""
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
    """Return the keys of which a mapping must have one: those of the rule for a mapping without any of them."""
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
