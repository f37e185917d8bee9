"""The laws of all texts and documents of step files."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from step_runner.errors import FunctionFileError, InputError
from step_runner.functions import schema
from step_runner.functions.check import check_text
from step_runner.functions.decoder import Report, decode
from step_runner.functions.document import read_documents
from step_runner.functions.loader import load_function, load_run_list
from step_runner.functions.nodes import value_of
from step_runner.functions.reference import parse_reference
from step_runner.functions.scalar import scalar_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from step_runner.model import Problem

SCHEMA = schema.definitions()
names = st.sampled_from(["a", "b_1", "_", "1a", "a-b", "${{ x }}", ""])
scalars = st.sampled_from([None, True, False, 0, 1.5, -3, "", "x", "1", "true", "string", "number", "./a", "delegate"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2), max_leaves=4
)
DECLARED = ["spec", "inputs", "outputs", "type", "default", "sensitive", "description", "delegate"]
DEFINED = ["exec", "run", "env", "command", "work_dir", "name", "func", "step", "script", "action", "unknown"]
LOCATED = ["git", "oci", "url", "rev", "dir", "file", "registry", "repository", "tag"]


def mapping(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for mappings with some of the keys, mostly with values of the right type."""
    noisy = {key: field | values if index % 2 else field for index, (key, field) in enumerate(fields.items())}
    return st.fixed_dictionaries({}, optional={**noisy, "unknown": values}) | values


def named(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(names, items, max_size=2)


texts = st.sampled_from(["a", "./a", "1"])
types = st.sampled_from(["string", "number", "boolean", "array", "struct"])
parameters = mapping(type=types, default=values, sensitive=st.booleans(), description=texts)
specifications = mapping(spec=mapping(inputs=named(parameters), outputs=named(parameters) | st.just("delegate")))
git = mapping(rev=texts, url=texts, dir=texts, file=st.just("a.yml"))
oci = mapping(tag=texts, registry=texts, repository=st.just("a"), dir=texts, file=st.just("a.yml"))
calls = st.just("./a") | mapping(git=git) | mapping(oci=oci)
items = mapping(name=texts, func=calls, env=named(scalars), inputs=named(values)) | mapping(
    name=texts, script=texts, step=calls, action=texts, inputs=named(values)
)
commands = mapping(command=st.lists(scalars, max_size=3), work_dir=texts)
definitions = mapping(env=named(scalars), exec=commands, outputs=named(values)) | mapping(
    env=named(scalars), run=st.lists(items, max_size=3), outputs=named(values)
)
anything = st.dictionaries(st.sampled_from([*DECLARED, *DEFINED, *LOCATED]), values, max_size=5)


def accepted_by_decoder(value: object, definition: str) -> bool:
    """Return whether it is decoded without an error and without an unknown key."""
    (node,) = read_documents(json.dumps(value), "step.yml").nodes
    assert value_of(node) == value
    report = Report("step.yml")
    decode(definition, node, "the document", report)
    return not report.errors and not any("unknown key" in warning.message for warning in report.warnings)


def accepted_by_schema(value: object, definition: str) -> bool:
    whole = {"$ref": f"#/$defs/{definition}", "$defs": SCHEMA}
    return jsonschema.Draft202012Validator(whole).is_valid(value)


def is_beyond_schema(value: object) -> bool:
    """Return whether it holds values that only the decoder checks: texts of references, and names of steps."""
    text = json.dumps(value)
    return any(f'"{key}":' in text for key in ("delegate", "registry", "repository")) or (
        any(f'"{key}": "{word}"' in text for key in ("func", "step") for word in ("x", "1", "true", "a", "string"))
    )


@settings(max_examples=150)
@given(specifications | anything)
def test_decoder_and_schema_accept_equal_specifications(value: object) -> None:
    assert accepted_by_decoder(value, "Specification") == accepted_by_schema(value, "Specification")


@settings(max_examples=250)
@given(definitions | anything)
def test_decoder_and_schema_accept_equal_definitions(value: object) -> None:
    accepted = accepted_by_decoder(value, "Definition")

    if accepted or not is_beyond_schema(value):
        assert accepted == accepted_by_schema(value, "Definition")


MARKS = [": ", "- ", "\n", "  ", "{", "}", "[", "]", ",", "'", '"', "|", ">", "&a ", "*a", "<<", "!!str ", "#", "\t"]
RARE = ["\\", "---\n", "%", "?", "@", "\x00", "\x85", "\u2028", "\ud800", "\ufeff", "\r\n", "ä", "1", "{}\n---\n"]
WORDS = ["spec:", "run:", "exec:", "command: [a]", "name: a", "script: x", "func: ./a", "${{ ", " }}"]
pieces = st.sampled_from([*MARKS, *RARE, *WORDS])
texts_near_yaml = st.lists(pieces, max_size=40).map("".join)


@settings(max_examples=300)
@given(texts_near_yaml | st.text(max_size=60))
def test_loading_any_text_raises_only_problems_with_places(text: str) -> None:
    lines = len(text.splitlines()) + 1
    for load in (load_function, load_run_list):
        problems = problems_of(load, text)

        assert all(1 <= one.place.line <= lines and one.place.column >= 1 for one in problems)
        assert all("\n" not in one.message and not one.message.endswith(".") for one in problems)


def problems_of(load: Callable[..., tuple[object, tuple[Problem, ...]]], text: str) -> tuple[Problem, ...]:
    try:
        return load(text, file="step.yml")[1]
    except FunctionFileError as error:
        return error.problems


@settings(max_examples=100)
@given(texts_near_yaml.map(lambda text: "{}\n---\nrun:\n- name: a\n  script: |\n    " + text.replace("\n", " ")))
def test_check_never_raises(text: str) -> None:
    check_text(text, file="step.yml")
    check_text(text, file="step.yml", bare=True)


@given(st.text(alphabet="a./@:-_ 1${}\n~\\", max_size=30) | st.text(max_size=30))
def test_reference_parses_or_raises_input_error(text: str) -> None:
    with contextlib.suppress(InputError):
        parse_reference(text)


@given(st.text(alphabet="0123456789abcdefxoEe+-._:", max_size=12))
def test_unquoted_scalars_are_finite_or_texts(text: str) -> None:
    value = scalar_value(text)

    assert value is None or isinstance(value, str | bool) or json.loads(json.dumps(value)) == value
