"""The JSON Schema of step files for editors, made from the types that the decoder follows.

What may be written in several forms is told apart by its type or by the key that is there, with `if` and `then`, so
that an editor complains about the form that was meant. Keys that have no effect are refused.
"""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

from msgspec import inspect

from step_runner.functions.decode import unwrap
from step_runner.functions.schema import Definition, Specification, Written

Json = dict[str, Any]


def json_schema() -> Json:
    """Return the schema of one document of a step file, be it the specification or the definition."""
    definitions: Json = {}
    first, second = (_schema(inspect.type_info(cls), definitions) for cls in (Specification, Definition))
    specifies = {"type": "object", "required": ["spec"]}
    defines = {"type": "object", "minProperties": 1, "not": {"required": ["spec"]}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Step file",
        "description": "A function of GitLab CI: a specification, a line with ---, and a definition.",
        "type": ["object", "null"],
        "allOf": [{"if": specifies, "then": first}, {"if": defines, "then": second}],
        "$defs": dict(sorted(definitions.items())),
    }


def text() -> str:
    """The schema as it is checked in."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _schema(kind: inspect.Type, definitions: Json) -> Json:
    more: Json = {}
    while isinstance(kind, inspect.Metadata):
        more = {**(kind.extra_json_schema or {}), **more}
        kind = kind.type
    return {**_bare_schema(kind, definitions), **more}


def _bare_schema(kind: inspect.Type, definitions: Json) -> Json:
    match kind:
        case inspect.StrType():
            return _present(type="string", minLength=kind.min_length, pattern=kind.pattern)
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.NoneType():
            return {"type": "null"}
        case inspect.EnumType():
            return {"type": "string", "enum": [member.value for member in kind.cls]}
        case inspect.LiteralType():
            return {"type": "string", "enum": list(kind.values)}
        case inspect.ListType():
            items = _schema(kind.item_type, definitions)
            return _present(type="array", items=items, minItems=kind.min_length)
        case inspect.DictType():
            names = _present(pattern=_bare_schema(unwrap(kind.key_type)[0], definitions).get("pattern"))
            values = _schema(kind.value_type, definitions)
            return {"type": "object", "propertyNames": names, "additionalProperties": values}
        case inspect.UnionType():
            return _union([_schema(one, definitions) for one in kind.types])
        case inspect.StructType():
            return _struct_schema(kind, definitions)
        case _:
            return {}


def _union(forms: list[Json]) -> Json:
    """The schema of what has one of several forms, each of a JSON type of its own."""
    types = [one for form in forms for one in _types(form)]
    guarded = [{"if": {"type": _one_or_all(_types(form))}, "then": form} for form in forms if set(form) - {"type"}]
    return _present(type=_one_or_all(types), allOf=guarded or None)


def _types(form: Json) -> list[str]:
    """The JSON types of a form; a reference is to a mapping."""
    found = form.get("type", "object")
    return [found] if isinstance(found, str) else found


def _one_or_all(types: list[str]) -> str | list[str]:
    return types[0] if len(types) == 1 else types


def _struct_schema(kind: inspect.StructType, definitions: Json) -> Json:
    name = kind.cls.__name__
    if name not in definitions:
        definitions[name] = {}
        definitions[name] = _object_schema(kind, definitions)
    return {"$ref": f"#/$defs/{name}"}


def _object_schema(kind: inspect.StructType, definitions: Json) -> Json:
    assert issubclass(kind.cls, Written)
    required = [field.encode_name for field in kind.fields if field.required]
    return _present(
        type="object",
        description=kind.cls.__doc__,
        properties={field.encode_name: _schema(field.type, definitions) for field in kind.fields},
        required=required or None,
        additionalProperties=False,
        allOf=_rules(kind.cls) or None,
    )


def _rules(cls: type[Written]) -> list[Any]:
    together = [*combinations(cls.exactly_one, 2), *cls.apart]
    forbidden = [{"if": {"required": [one]}, "then": {"properties": {other: False}}} for one, other in together]
    return [*_one_of(cls.exactly_one), *forbidden, *cls.rules]


def _one_of(keys: tuple[str, ...]) -> list[Json]:
    """Where none of the keys is there, the first one is missing."""
    if not keys:
        return []
    return [{"if": {"not": {"anyOf": [{"required": [key]} for key in keys]}}, "then": {"required": [keys[0]]}}]


def _present(**keys: Any) -> Json:
    return {key: value for key, value in keys.items() if value is not None}
