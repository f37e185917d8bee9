"""From YAML nodes to plain values: follows the schema of step files, and reports every problem with its place."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from step_runner.errors import InputError
from step_runner.functions import schema as schemas
from step_runner.functions.nodes import (
    Listing,
    Mapping,
    Node,
    Scalar,
    child,
    find,
    is_null,
    kind_of,
    place_of,
    value_of,
)
from step_runner.functions.rules import MAPPINGS, TEXTS
from step_runner.model import Problem
from step_runner.spelling import meant

if TYPE_CHECKING:
    from collections.abc import Iterable

    from step_runner.functions.schema import Schema

MOST_PROBLEMS = 100


class Report:
    """Collects the problems of a file: at most 100 errors, including known `errors`, and 100 warnings.

    Without `names`, as in a bare run list, names may be missing or irregular.
    """

    def __init__(self, file: str, errors: Iterable[Problem] = (), *, names: bool = True) -> None:
        self.file = file
        self.names = names
        self.errors = list(errors)
        self.warnings: list[Problem] = []

    def error(self, node: Node, message: str) -> None:
        """Add an error: the file cannot be run."""
        if len(self.errors) < MOST_PROBLEMS:
            self.errors.append(Problem(place=place_of(node, self.file), message=message))

    def warning(self, node: Node, message: str) -> None:
        """Add a warning: the file can be run, but may not mean this."""
        if len(self.warnings) < MOST_PROBLEMS:
            self.warnings.append(Problem(place=place_of(node, self.file), message=message, warning=True))

    def problems(self) -> tuple[Problem, ...]:
        """Return all problems in the order of the file."""
        return tuple(sorted((*self.errors, *self.warnings), key=lambda one: (one.place.line, one.place.column)))


Decode: TypeAlias = Callable[[Any, str, Report], Any]
"""Decodes a node; the text names the node in messages (`input "age"`). The value of an invalid node is None."""


def decode(definition: str, node: Node, label: str, report: Report) -> Any:
    """Return the value of a node that follows a definition of the schema, None if there is an error in it.

    Texts are as written. A key without a value has the value of `x-null`, or is left out. Problems go to the report.
    """
    before = len(report.errors)
    value = _definition(definition)(node, label, report)
    return value if len(report.errors) == before else None


@functools.cache
def _definition(name: str) -> Decode:
    return _decoder({"$ref": f"#/$defs/{name}"})


def _decoder(schema: Schema) -> Decode:
    """Return a decoder that adds the InputError of a node to the report."""
    decode = _form(schemas.resolved(schema))

    def reporting(node: Node, label: str, report: Report) -> Any:
        try:
            return decode(node, label, report)
        except InputError as error:
            report.error(node, str(error))
            return None

    return reporting


def _form(schema: Schema) -> Decode:
    if "x-refused" in schema:
        return _refused(schema["x-refused"])
    if "type" not in schema:
        return lambda node, _label, _report: value_of(node)
    forms = schemas.forms(schema)
    choices: dict[type[Node], tuple[str, Decode]] = {}
    for kind, form in forms.items():
        if kind == "array":
            choices[Listing] = "a list", _list(form)
        elif kind == "object":
            choices[Mapping] = "a mapping", _Struct(form).decode if "properties" in form else _dict(form)
        elif kind != "null":
            choices.setdefault(Scalar, _boolean(form) if kind == "boolean" else _string(form))
    return _choice(choices, forms, schema)


def _choice(choices: dict[type[Node], tuple[str, Decode]], forms: dict[str, Schema], schema: Schema) -> Decode:
    """Return a decoder that chooses by the type of the node. Null is a mapping without keys where keys are required."""
    expected = " or ".join(words for words, _ in choices.values())
    decoders = {kind: decode for kind, (_, decode) in choices.items()}
    nullable, is_filled, null = "null" in forms, "required" in forms.get("object", ()), schema.get("x-null")
    advice = _advice(schema)

    def decode(node: Node, label: str, report: Report) -> Any:
        if (nullable or is_filled) and is_null(node):
            if nullable:
                return null
            node = Mapping(entries={}, line=node.line, column=node.column)
        if (chosen := decoders.get(type(node))) is None:
            raise _not(expected, node, label, advice)
        return chosen(node, label, report)

    return decode


def _advice(schema: Schema) -> str:
    return f"; {schema['x-advice']}" if "x-advice" in schema else ""


def _refused(reason: str) -> Decode:
    def decode(_node: Node, _label: str, _report: Report) -> None:
        raise InputError(reason)

    return decode


def _string(schema: Schema) -> tuple[str, Decode]:
    pattern = re.compile(schema["pattern"]) if "pattern" in schema else None
    least, advice, is_name = schema.get("minLength", 0), _advice(schema), "x-name" in schema
    takes_text, read = "number" in schema["type"], TEXTS.get(schema.get("format", ""), str)
    words, never = list(filter(None, schema.get("enum", ()))), schema.get("x-never", {})
    expected = "a word" if words else "a string"

    def decode(node: Scalar, label: str, report: Report) -> str:
        text = node.text
        if node.plain and not isinstance(value := node.value, str) and (value is None or not takes_text):
            raise _not(expected, node, label, advice or ("" if value is None else "; put it in quotes"))
        if words and text not in words:
            why = f"; {never[text]}" if text in never else meant(text, words)
            raise InputError(f'{label} cannot be "{text[:60]}"{why}')
        if len(text) < least:
            raise InputError(f"{label} is empty{advice or '; write a text'}")
        if pattern is not None and (report.names or not is_name) and not pattern.fullmatch(text):
            raise InputError(f'{label} cannot be "{text[:60]}"{advice}')
        read(text)
        return text

    return expected, decode


def _boolean(schema: Schema) -> tuple[str, Decode]:
    def decode(node: Scalar, label: str, _report: Report) -> bool:
        if not isinstance(node.value, bool):
            raise _not("a boolean", node, label, _advice(schema))
        return node.value

    return "a boolean", decode


def _list(schema: Schema) -> Decode:
    decode_item, least, advice = _decoder(schema["items"]), schema.get("minItems", 0), _advice(schema)
    each = schema["x-each"]

    def decode(node: Listing, label: str, report: Report) -> list[Any]:
        if len(node.items) < least and report.names:
            raise InputError(f"{label} is an empty list{advice}")
        return [decode_item(item, _item_label(item, each, index), report) for index, item in enumerate(node.items, 1)]

    return decode


def _item_label(node: Node, each: str, index: int) -> str:
    name = child(node, "name")
    return f'{each} "{name.text[:60]}"' if isinstance(name, Scalar) else f"{each} {index}"


def _dict(schema: Schema) -> Decode:
    decode_key, decode_value = _decoder(schema["propertyNames"]), _decoder(schema["additionalProperties"])
    each = schema["x-each"]

    def decode(node: Mapping, label: str, report: Report) -> dict[str, Any]:
        values = {}
        for key, entry in node.entries.items():
            decode_key(_quoted(entry.key), f"the name of the {each}", report)
            values[key] = decode_value(entry.node, f'{each} "{key[:60]}"', report)
        return values

    return decode


def _quoted(key: Scalar) -> Scalar:
    """Return a key as a string, even if its text would mean another type as a value."""
    return Scalar(key.text, False, key.line, key.column, key.last_line) if key.plain else key


class _Struct:
    """Decodes mappings with known keys."""

    def __init__(self, schema: Schema) -> None:
        properties = {key: schemas.resolved(one) for key, one in schema["properties"].items()}
        self._fields = {key: _decoder(one) for key, one in properties.items()}
        self._required = {key: properties[key] for key in schema.get("required", ())}
        self._strict = "x-strict" in schema
        self._exactly_one = schemas.exactly_one(schema)
        self._without = schema.get("x-without")
        self._foreign = schema.get("x-foreign", {})
        self._apart = [pair for pair in schemas.apart(schema) if not set(pair) <= set(self._exactly_one)]
        self._complaints = MAPPINGS.get(schema.get("format", ""))

    def decode(self, node: Mapping, label: str, report: Report) -> dict[str, Any]:
        label = label.split(" of ", 1)[0] if label[0] == '"' else label
        before = len(report.errors)
        values = self._values(node, label, report)
        self._check_missing(node, label, report, values)
        self._check_together(node, label, report)
        if self._complaints is not None and len(report.errors) == before:
            subject = "" if label.startswith("the ") else f"{label}: "
            for key, sentence in self._complaints(values):
                report.error(find(node, key), subject + sentence)
        return values

    def _values(self, node: Mapping, label: str, report: Report) -> dict[str, Any]:
        values: dict[str, Any] = {}
        # A key of another system that is used next to ours has no effect.
        foreign = self._foreign if node.entries.keys().isdisjoint(self._exactly_one) else ()
        for key, entry in node.entries.items():
            decode = self._fields.get(key)
            if decode is None and key in foreign:
                report.error(entry.key, f'"{key}" is not valid in {label}; {self._foreign[key]}')
            elif decode is None:
                self._unknown(key, entry.key, label, report)
            elif (value := decode(entry.node, f'"{key}" of {label}', report)) is not None:
                values[key] = value
        return values

    def _unknown(self, key: str, node: Scalar, label: str, report: Report) -> None:
        if self._strict:
            report.error(node, f'{label} has no key "{key[:60]}"{meant(key, self._fields)}')
        elif len(report.warnings) < MOST_PROBLEMS:
            report.warning(node, f'unknown key "{key[:60]}" in {label} has no effect{meant(key, self._fields)}')

    def _check_missing(self, node: Mapping, label: str, report: Report, values: dict[str, Any]) -> None:
        for key, schema in self._required.items():
            if key in node.entries:
                continue
            if "x-name" in schema and not report.names:
                values[key] = ""
            else:
                advice = schema.get("x-missing") or schema.get("x-advice") or "add it"
                report.error(node, f"{label} has no {key}; {advice}")

    def _check_together(self, node: Mapping, label: str, report: Report) -> None:
        given = [key for key in node.entries if key in self._exactly_one]
        if len(given) > 1:
            second = node.entries[given[1]].key
            report.error(second, f'{label} has both "{given[0]}" and "{given[1]}"; keep one of them')
        if not given and self._exactly_one and node.entries.keys().isdisjoint(self._foreign):
            report.error(node, f"{label} has {self._without}; add one of them")
        for first, other in self._apart:
            if first in node.entries and other in node.entries:
                place = node.entries[other].key
                report.error(place, f'{label} has "{other}", which cannot be used with "{first}"; remove one of them')


def _not(expected: str, node: Node, label: str, advice: str) -> InputError:
    """Return the error for a node of another type."""
    if is_null(node):
        return InputError(f"{label} is empty{advice or f'; write {expected}'}")
    return InputError(f"{label} is {kind_of(node)}, not {expected}{advice}")
