"""The signature of a Python function declares its inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired, Optional, TypedDict

import pytest
from msgspec import UNSET

from step_runner.builtin.signature import Results, arguments, results, spec_of
from step_runner.errors import InputError
from step_runner.model import Parameter, Spec, ValueType
from step_runner.plugin import Exported, Sensitive

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal


@dataclass
class Built:
    """Two outputs and a variable."""

    path: Path
    size: int | None = None
    BUILD: Exported[str] = "b1"
    tags: list[str] = field(default_factory=list)


class Token(TypedDict):
    """An output that is secret, and one that may be missing."""

    token: Sensitive[str]
    lifetime: NotRequired[float]


@dataclass(frozen=True)
class Server:
    """An input with a form of its own."""

    host: str
    port: int = 443


def everything(
    text: str,
    flag: bool,
    items: list[int],
    secret: Sensitive[str],
    server: Server,
    options: dict[str, object] = {},  # noqa: B006 - never changed
    number: int | float = 1,
    maybe: Optional[str] = None,  # noqa: UP045 - the older spelling
    level: Literal["debug", "info"] = "info",
    folder: Path = Path("dist"),
) -> None:
    """Every kind of input."""


def parameter(kind: ValueType, default: Any = UNSET, *, sensitive: bool = False) -> Parameter:
    return Parameter(type=kind, default=default, sensitive=sensitive)


def test_inputs_have_types_and_defaults_of_parameters() -> None:
    assert spec_of(everything) == Spec(
        inputs={
            "text": parameter(ValueType.STRING),
            "flag": parameter(ValueType.BOOLEAN),
            "items": parameter(ValueType.ARRAY),
            "secret": parameter(ValueType.STRING, sensitive=True),
            "server": parameter(ValueType.STRUCT),
            "options": parameter(ValueType.STRUCT, {}),
            "number": parameter(ValueType.NUMBER, 1),
            "maybe": parameter(ValueType.STRING, None),
            "level": parameter(ValueType.STRING, "info"),
            "folder": parameter(ValueType.STRING, "dist"),
        }
    )


def build() -> Built:
    return Built(Path("dist/a.whl"), 12)


async def fetch() -> Token:
    return {"token": "t"}


def test_outputs_are_fields_of_return_type_without_exports() -> None:
    """The outputs are the fields of the return type, except those that are declared as exported."""
    assert spec_of(build).outputs == {
        "path": parameter(ValueType.STRING),
        "size": parameter(ValueType.NUMBER, None),
        "tags": parameter(ValueType.ARRAY),
    }


def test_optional_key_of_typed_dict_defaults_to_null() -> None:
    assert spec_of(fetch).outputs == {
        "token": parameter(ValueType.STRING, sensitive=True),
        "lifetime": parameter(ValueType.NUMBER, None),
    }


def test_values_are_converted_to_types_of_parameters() -> None:
    given: dict[str, Any] = {"server": {"host": "h"}, "folder": "a/b", "number": 2, "maybe": None, "items": [1, 2]}
    assert arguments(everything, given) == {
        "server": Server("h"),
        "folder": Path("a/b"),
        "number": 2,
        "maybe": None,
        "items": [1, 2],
    }


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"text": 5}, 'input "text" is of another type than declared: expected `str`, got `int`'),
        ({"items": [1, "b"]}, 'input "items" is of another type than declared: expected `int`, got `str` - at `$[1]`'),
        (
            {"level": "loud"},
            "input \"level\" is of another type than declared: invalid enum value 'loud'; it is one of 'debug', 'info'",
        ),
        ({"server": {}}, 'input "server" is of another type than declared: object missing required field `host`'),
        ({"folder": 5}, 'input "folder" is of another type than declared: expected `Path`, got `int`'),
        ({"secret": ["s3cr3t"]}, 'input "secret" is of another type than declared: expected `str`, got `array`'),
    ],
    ids=["scalar", "item", "literal", "dataclass", "path", "a secret is not shown"],
)
def test_value_of_another_type_is_refused(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as raised:
        arguments(everything, inputs)
    assert str(raised.value) == message


def test_returned_fields_become_outputs_and_exports() -> None:
    assert results(build, build()) == Results({"path": "dist/a.whl", "size": 12, "tags": []}, {"BUILD": "b1"})


def test_returned_none_writes_no_output() -> None:
    assert results(build, Built(Path("a"))).outputs == {"path": "a", "tags": []}


def test_function_without_outputs_returns_none() -> None:
    assert results(everything, None) == Results({}, {})
    with pytest.raises(InputError, match="it returned a value, but its signature declares none; return a dataclass"):
        results(everything, 5)


def test_returned_value_of_another_type_is_refused() -> None:
    with pytest.raises(InputError) as raised:
        results(fetch, {"token": 5})
    assert str(raised.value) == (
        "the returned value is of another type than declared: expected `str`, got `int` - at `$.token`"
    )


def test_returned_value_outside_json_is_refused() -> None:
    with pytest.raises(InputError) as raised:
        results(build, Built(Path("a"), tags=[object()]))  # type: ignore[list-item]
    assert str(raised.value) == "the returned value is not a JSON value: object has no form in JSON; use other types"


def untyped(name) -> None: ...  # type: ignore[no-untyped-def]


def numbers(value: complex) -> None: ...


def either(value: str | int) -> None: ...


def rest(*names: str) -> None: ...


def wrong_default(count: int = "5") -> None: ...  # type: ignore[assignment]


def no_json(name: str = object()) -> None: ...  # type: ignore[assignment]


def unknown(price: Decimal) -> None: ...


def nameless() -> dict[str, str]: ...  # type: ignore[empty-body]


class Variables(TypedDict):
    """No variable can hold a list."""

    LIST: Exported[list[str]]


def exporting() -> Variables: ...  # type: ignore[empty-body]


ADVICE = "use str, int, float, bool, list, dict, Path, Literal, a dataclass or a TypedDict"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (untyped, f'input "name" has no type; {ADVICE}'),
        (numbers, f'input "value" has the type complex, which inputs and outputs cannot have; {ADVICE}'),
        (either, f'input "value" has the type str | int, which inputs and outputs cannot have; {ADVICE}'),
        (rest, 'input "names" cannot be given by its name; leave out * and /'),
        (wrong_default, 'the default of input "count" is of another type than declared: expected `int`, got `str`'),
        (no_json, 'the default of input "name" is not a JSON value: object has no form in JSON; use other types'),
        (exporting, 'export "LIST" is not a single value; a variable is a str, an int, a float or a bool'),
        (unknown, "its type hints use Decimal, which is not defined at run time; import it outside of TYPE_CHECKING"),
        (
            nameless,
            "its return type dict[str, str] does not name outputs; return a dataclass or a TypedDict with a field for"
            " each output, or None",
        ),
        (Server, "it is not a function; name a function in the entry point"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_incomplete_signature_is_refused(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(InputError) as raised:
        spec_of(function)
    assert str(raised.value) == message
