"""The JSON Schema of step files for editors, made from the types that the decoder follows.

`python -m step_runner.functions.json_schema FILE` writes it to a file.
"""

from __future__ import annotations

import json
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

from msgspec import inspect

from step_runner.functions.decode import unwrap
from step_runner.functions.schema import Definition, Specification, Written

Json = dict[str, Any]


def json_schema() -> Json:
    """The schema of one document of a step file, be it the specification or the definition."""
    definitions: Json = {}
    documents = [_schema(inspect.type_info(cls), definitions) for cls in (Specification, Definition)]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Step file",
        "description": "A function of GitLab CI: a specification, a line with ---, and a definition.",
        "anyOf": [{"type": "null"}, *documents],
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
            return {"enum": [member.value for member in kind.cls]}
        case inspect.LiteralType():
            return {"enum": list(kind.values)}
        case inspect.ListType():
            items = _schema(kind.item_type, definitions)
            return _present(type="array", items=items, minItems=kind.min_length)
        case inspect.DictType():
            names = _present(pattern=_bare_schema(unwrap(kind.key_type)[0], definitions).get("pattern"))
            values = _schema(kind.value_type, definitions)
            return {"type": "object", "propertyNames": names, "additionalProperties": values}
        case inspect.UnionType():
            return {"anyOf": [_schema(one, definitions) for one in kind.types]}
        case inspect.StructType():
            return _struct_schema(kind, definitions)
        case _:
            return {}


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
        additionalProperties=False if kind.forbid_unknown_fields else None,
        allOf=_rules(kind.cls) or None,
    )


def _rules(cls: type[Written]) -> list[Any]:
    one = [{"required": [key]} for key in cls.exactly_one]
    together = [*combinations(cls.exactly_one, 2), *cls.apart]
    forbidden = [{"not": {"required": list(pair)}} for pair in together]
    return [*([{"anyOf": one}] if one else []), *forbidden, *cls.rules]


def _present(**keys: Any) -> Json:
    return {key: value for key, value in keys.items() if value is not None}


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else "schema/function.json").write_text(text(), encoding="utf-8")
