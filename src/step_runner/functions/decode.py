"""From YAML nodes to typed values: one decoder for all types of the schema, which reports every problem."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

from msgspec import NODEFAULT, inspect

from step_runner.errors import InputError
from step_runner.functions.nodes import (
    Listing,
    Mapping,
    Node,
    Scalar,
    is_null,
    kind_of,
    place_of,
    value_of,
)
from step_runner.functions.schema import Written
from step_runner.model import Problem
from step_runner.spelling import meant

T = TypeVar("T")
MOST_PROBLEMS = 100


class Report:
    """The problems found so far, in a file; at most 100 errors and 100 warnings are kept."""

    def __init__(self, file: str, *, names: bool = True) -> None:
        self.file = file
        self.names = names
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def error(self, node: Node, message: str) -> None:
        """Adds what keeps the file from running."""
        if len(self.errors) < MOST_PROBLEMS:
            self.errors.append(Problem(place=place_of(node, self.file), message=message))

    def warning(self, node: Node, message: str) -> None:
        """Adds what may not be meant so."""
        if len(self.warnings) < MOST_PROBLEMS:
            self.warnings.append(Problem(place=place_of(node, self.file), message=message, warning=True))

    def problems(self) -> tuple[Problem, ...]:
        """All problems in the order of the file."""
        return tuple(sorted((*self.errors, *self.warnings), key=lambda one: (one.place.line, one.place.column)))


Decode: TypeAlias = Callable[[Node, str, Report], Any]
"""Decodes a node; the text says what the node is (`input "age"`). What is reported wrong is None."""


class Decoder(Generic[T]):
    """Decodes nodes as values of one type."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._decode: Decode | None = None

    def decode(self, node: Node, label: str, report: Report) -> T | None:
        """The value that a node means, None if there is an error in it; problems go to the report."""
        if self._decode is None:
            self._decode = _decode_type(inspect.type_info(self._kind))
        before = len(report.errors)
        value: T | None = self._decode(node, label, report)
        return value if len(report.errors) == before else None


def _decode_type(kind: inspect.Type) -> Decode:
    kind, extra = unwrap(kind)
    advice = f"; {extra['advice']}" if "advice" in extra else ""
    if "refused" in extra:
        return _refused(extra["refused"])
    match kind:
        case inspect.AnyType():
            return lambda node, _label, _report: value_of(node)
        case inspect.StrType():
            return _string(kind, extra, advice)
        case inspect.BoolType():
            return _boolean
        case inspect.EnumType():
            return _one_of([member.value for member in kind.cls], kind.cls, advice, {})
        case inspect.LiteralType():
            return _one_of(list(kind.values), str, advice, extra.get("never", {}))
        case inspect.ListType():
            return _list(kind, extra.get("each", "item"), advice)
        case inspect.DictType():
            return _dict(kind, extra.get("each", "key"), advice)
        case inspect.StructType():
            return _struct(kind.cls, advice)
        case inspect.UnionType():
            return _union(kind, extra, advice)
        case _:
            raise TypeError(f"a step file cannot hold {kind}")


def unwrap(kind: inspect.Type) -> tuple[inspect.Type, dict[str, Any]]:
    """The type below its descriptions, and what they say in `extra`, the outer one first."""
    extra: dict[str, Any] = {}
    while isinstance(kind, inspect.Metadata):
        extra = {**(kind.extra or {}), **extra}
        kind = kind.type
    return kind, extra


def _refused(reason: str) -> Decode:
    def decode(node: Node, _label: str, report: Report) -> None:
        report.error(node, reason)

    return decode


def _string(kind: inspect.StrType, extra: dict[str, Any], advice: str) -> Decode:
    pattern = re.compile(kind.pattern) if kind.pattern else None
    least = kind.min_length or 0
    takes_text, for_null, parse, is_name = (extra.get(key) for key in ("text", "null", "parse", "name"))

    def decode(node: Node, label: str, report: Report) -> str | None:
        if not isinstance(node, Scalar):
            report.error(node, _is_not("a string", node, label, advice))
            return None
        text = node.text
        if node.plain and not isinstance(value := node.value, str):
            if value is None and for_null is not None:
                return str(for_null)
            if value is None or not takes_text:
                report.error(node, _is_not("a string", node, label, advice or _quotes(value)))
                return None
        if len(text) < least:
            report.error(node, f"{label} is empty{advice or '; write a text'}")
            return None
        if pattern is not None and (report.names or not is_name) and not pattern.fullmatch(text):
            report.error(node, f'{label} cannot be "{text[:60]}"{advice}')
            return None
        return _parsed(text, node, parse, report) if parse is not None else text

    return decode


def _quotes(value: object) -> str:
    return "" if value is None else "; put it in quotes"


def _parsed(text: str, node: Node, parse: Callable[[str], object], report: Report) -> str | None:
    try:
        parse(text)
    except InputError as error:
        report.error(node, str(error))
        return None
    return text


def _boolean(node: Node, label: str, report: Report) -> bool | None:
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, bool):
        return value
    report.error(node, _is_not("a boolean", node, label, "; write true or false"))
    return None


def _one_of(values: list[Any], make: Callable[[str], Any], advice: str, never: dict[str, str]) -> Decode:
    def decode(node: Node, label: str, report: Report) -> Any:
        if isinstance(node, Scalar) and node.value in values and isinstance(node.value, str):
            return make(node.text)
        if isinstance(node, Scalar) and isinstance(node.value, str):
            why = f"; {never[node.text]}" if node.text in never else meant(node.text, values)
            report.error(node, f'{label} cannot be "{node.text[:60]}"{why}')
            return None
        report.error(node, _is_not("a word", node, label, advice))
        return None

    return decode


def _list(kind: inspect.ListType, each: str, advice: str) -> Decode:
    decode_item = _decode_type(kind.item_type)
    least = kind.min_length or 0

    def decode(node: Node, label: str, report: Report) -> list[Any] | None:
        if not isinstance(node, Listing):
            report.error(node, _is_not("a list", node, label, advice))
            return None
        if len(node.items) < least and report.names:
            report.error(node, f"{label} is an empty list{advice}")
            return None
        return [decode_item(item, _item_label(item, each, index), report) for index, item in enumerate(node.items, 1)]

    return decode


def _item_label(node: Node, each: str, index: int) -> str:
    name = node.get("name") if isinstance(node, Mapping) else None
    return f'{each} "{name.text[:60]}"' if isinstance(name, Scalar) else f"{each} {index}"


def _dict(kind: inspect.DictType, each: str, advice: str) -> Decode:
    decode_key, decode_value = _decode_type(kind.key_type), _decode_type(kind.value_type)

    def decode(node: Node, label: str, report: Report) -> dict[str, Any] | None:
        if not isinstance(node, Mapping):
            report.error(node, _is_not("a mapping", node, label, advice))
            return None
        values = {}
        for key, entry in node.entries.items():
            decode_key(_quoted(entry.key), f"the name of the {each}", report)
            values[key] = decode_value(entry.node, f'{each} "{key[:60]}"', report)
        return values

    return decode


def _quoted(key: Scalar) -> Scalar:
    """A key as a string, whatever its text would mean as a value."""
    return Scalar(key.text, False, key.line, key.column, key.last_line) if key.plain else key


def _union(kind: inspect.UnionType, extra: dict[str, Any], advice: str) -> Decode:
    """Chooses by what the node is: of a union, each sort of node fits at most one type."""
    choices: dict[type, tuple[Decode, str]] = {}
    nullable = False
    for one in kind.types:
        bare, _ = unwrap(one)
        if isinstance(bare, inspect.NoneType):
            nullable = True
            continue
        decode = _decode_type(inspect.Metadata(one, extra=extra))
        if isinstance(bare, inspect.ListType):
            choices[Listing] = decode, "a list"
        elif isinstance(bare, inspect.DictType | inspect.StructType):
            choices[Mapping] = decode, "a mapping"
        else:
            choices[Scalar] = decode, "a string"
    return _choice(choices, nullable=nullable, advice=advice)


def _choice(choices: dict[type, tuple[Decode, str]], *, nullable: bool, advice: str) -> Decode:
    expected = " or ".join(words for _, words in choices.values())
    single = next(iter(choices.values()))[0] if len(choices) == 1 else None

    def decode(node: Node, label: str, report: Report) -> Any:
        if nullable and is_null(node):
            return None
        chosen = choices.get(type(node))
        if chosen is not None:
            return chosen[0](node, label, report)
        if single is not None:
            return single(node, label, report)
        report.error(node, _is_not(expected, node, label, advice))
        return None

    return decode


def _struct(cls: type, advice: str) -> Decode:
    assert issubclass(cls, Written)
    return _Struct(cls, advice).decode


class _Struct:
    """Decodes mappings as one struct."""

    def __init__(self, cls: type[Written], advice: str) -> None:
        info = inspect.type_info(cls)
        assert isinstance(info, inspect.StructType)
        self._cls = cls
        self._advice = advice
        self._strict = info.forbid_unknown_fields
        self._fields = {field.encode_name: _decode_type(field.type) for field in info.fields}
        self._required = {
            field.encode_name: unwrap(field.type)[1]
            for field in info.fields
            if field.required and field.default is NODEFAULT
        }

    def decode(self, node: Node, label: str, report: Report) -> Written | None:
        if is_null(node) and self._required:
            node = Mapping(entries={}, line=node.line, column=node.column)
        if not isinstance(node, Mapping):
            report.error(node, _is_not("a mapping", node, label, self._advice))
            return None
        label = label.split(" of ", 1)[0] if label[0] == '"' else label
        before = len(report.errors)
        values = self._values(node, label, report)
        self._check_missing(node, label, report, values)
        self._check_together(node, label, report)
        if len(report.errors) > before:
            return None
        return self._made(values, node, label, report)

    def _values(self, node: Mapping, label: str, report: Report) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, entry in node.entries.items():
            decode = self._fields.get(key)
            if decode is None and self._is_foreign(key, node):
                report.error(entry.key, f'"{key}" means nothing in {label}; {self._cls.foreign[key]}')
            elif decode is None:
                self._unknown(key, entry.key, label, report)
            else:
                values[key] = decode(entry.node, f'"{key}" of {label}', report)
        return values

    def _is_foreign(self, key: str, node: Mapping) -> bool:
        """Whether another system's key takes the place of ours; beside ours it has no effect."""
        return key in self._cls.foreign and node.entries.keys().isdisjoint(self._cls.exactly_one)

    def _unknown(self, key: str, node: Scalar, label: str, report: Report) -> None:
        if self._strict:
            report.error(node, f'{label} has no key "{key[:60]}"{meant(key, self._fields)}')
        elif len(report.warnings) < MOST_PROBLEMS:
            report.warning(node, f'unknown key "{key[:60]}" in {label} has no effect{meant(key, self._fields)}')

    def _check_missing(self, node: Mapping, label: str, report: Report, values: dict[str, Any]) -> None:
        for key, extra in self._required.items():
            if key in values:
                continue
            if extra.get("name") and not report.names:
                values[key] = ""
            else:
                advice = extra.get("missing") or extra.get("advice") or "add it"
                report.error(node, f"{label} has no {key}; {advice}")

    def _check_together(self, node: Mapping, label: str, report: Report) -> None:
        given = [key for key in node.entries if key in self._cls.exactly_one]
        if len(given) > 1:
            second = node.entries[given[1]].key
            report.error(second, f'{label} has both "{given[0]}" and "{given[1]}"; keep one of them')
        if not given and self._cls.exactly_one and node.entries.keys().isdisjoint(self._cls.foreign):
            report.error(node, f"{label} has {self._cls.without}; add one of them")
        for first, other in self._cls.apart:
            if first in node.entries and other in node.entries:
                place = node.entries[other].key
                report.error(place, f'{label} has "{other}", which cannot be used with "{first}"; remove one of them')

    def _made(self, values: dict[str, Any], node: Mapping, label: str, report: Report) -> Written:
        made = self._cls(**values)
        subject = "" if label.startswith("the ") else f"{label}: "
        for key, sentence in made.complaints():
            report.error(node.get(key) or node, subject + sentence)
        return made


def _is_not(expected: str, node: Node, label: str, advice: str) -> str:
    if is_null(node):
        return f"{label} is empty{advice or f'; write {expected}'}"
    return f"{label} is {kind_of(node)}, not {expected}{advice}"
