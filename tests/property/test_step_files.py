"""Any bytes in the files of a step give values, or an error that names the step, and never another error."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import example, given
from hypothesis import strategies as st

from step_runner.errors import OutputError
from step_runner.expression import expand_text
from step_runner.model import Parameter, Spec, ValueType
from step_runner.runner import environment
from step_runner.runner.files import Source, read_any_outputs, read_exports, read_outputs

if TYPE_CHECKING:
    from collections.abc import Callable

SPEC = Spec(outputs={"a": Parameter(type=ValueType.STRING, default="")})

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
LINES = st.builds(
    lambda name, value, as_ascii: json.dumps({"name": name, "value": value}, ensure_ascii=as_ascii).encode(
        errors="surrogatepass"
    ),
    st.sampled_from(["a", "", "A=B", "\0"]) | st.text(st.characters(codec=None)),
    VALUES,
    st.booleans(),
)
CONTENTS = st.lists(LINES | st.binary()).map(b"\n".join) | st.binary()


def read(content: bytes, reader: Callable[[Source], object]) -> object:
    """Return the reader's result for a file with this content; None for an error, which must name the step."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "file")
        path.write_bytes(content)
        try:
            return reader(Source(str(path), 'file of step "x"', show_lines=True))
        except OutputError as error:
            assert str(error).startswith(('file of step "x": ', 'file of step "x", line '))  # noqa: PT017
            return None


@given(CONTENTS)
@example(b'{"name": "a", "value": 1e999}')
@example(b'{"name": "a", "value": ' + b"[" * 5000)
def test_outputs_are_values_or_error_of_the_step(content: bytes) -> None:
    """Every output that is read can be used in an expression."""
    outputs = read(content, read_any_outputs)
    if outputs is not None:
        expand_text("${{ outputs }}", {"outputs": outputs}).encode()  # type: ignore[union-attr]


@given(CONTENTS)
def test_declared_outputs_are_values_or_error_of_the_step(content: bytes) -> None:
    """The result holds only declared outputs."""
    outputs = read(content, lambda source: read_outputs(source, SPEC))
    assert outputs is None or (isinstance(outputs, dict) and isinstance(outputs.pop("a"), str) and not outputs)


@given(CONTENTS)
def test_delegated_outputs_are_values_or_error_of_the_step(content: bytes) -> None:
    """A result that is missing or not valid JSON is an error, too."""
    read(content, lambda source: read_outputs(source, Spec(outputs="delegate")))


@given(CONTENTS)
def test_exports_are_variables_or_error_of_the_step(content: bytes) -> None:
    """Every export that is read can be an environment variable of the next step."""
    exports = read(content, lambda source: read_exports(source, lambda _: 0))
    assert exports is None or isinstance(exports, dict)
    for name, value in (exports or {}).items():
        assert environment.complaint(name, value) is None
