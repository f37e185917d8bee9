"""Output and export files of steps, and every way in which they can be wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.steps import run_list, script, shell

from step_runner.runner.files import Source, read_any_outputs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.runner.conftest import Workshop

    from step_runner.model import StepResult

OUTPUTS = {"v": {"type": "string"}, "n": {"type": "number", "default": 5}}
IN_OUTPUT = "output file, line 1: "
IN_EXPORT = "export file, line 1: "
MISMATCHED = 'mismatched types, declared as "{}" in step specification and received from step as type "{}"'

WRONG_LINES = [
    ("invalid", "JSON is malformed: "),
    ('value="foo"', "JSON is malformed: "),
    ("   ", "Input data was truncated: "),
    ("[1]", "not a JSON object: "),
    ('{"value":"x"}', '"name" field is missing'),
    ('{"name":null,"value":"x"}', '"name" field value is null'),
    ('{"name":"","value":"x"}', '"name" field value is empty'),
    ('{"name":5,"value":"x"}', '"name" field value is not a string'),
    ('{"name":"k"}', '"value" field is missing'),
    ('{"name":"k","value":null}', '"value" field value is null'),
]


def writing(content: str, *, to: str = "output_file", **fields: Any) -> str:
    """Return a function that writes these bytes."""
    return shell('printf %s "$CONTENT" >${{ ' + to + " }}", env={"CONTENT": content}, **fields)


def lines(**values: Any) -> str:
    return "".join(json.dumps({"name": name, "value": value}) + "\n" for name, value in values.items())


async def result(workshop: Workshop, text: str) -> StepResult:
    outcome = await workshop.run(text)
    assert outcome.error is None, str(outcome.error)
    assert outcome.result is not None
    return outcome.result


@pytest.mark.parametrize(("content", "message"), WRONG_LINES)
async def test_invalid_line_of_output_file_is_reported(workshop: Workshop, content: str, message: str) -> None:
    assert (await workshop.error(writing(content))).startswith(IN_OUTPUT + message)


@pytest.mark.parametrize(("content", "message"), WRONG_LINES)
async def test_invalid_line_of_export_file_is_reported(workshop: Workshop, content: str, message: str) -> None:
    assert (await workshop.error(writing(content, to="export_file"))).startswith(IN_EXPORT + message)


async def test_line_is_hidden_if_an_output_is_sensitive(workshop: Workshop) -> None:
    """An unreadable line may contain its value."""
    spec = {"outputs": {"k": {"type": "string", "sensitive": True}}}
    text = writing('{"name":"k","value":"hunter2', spec=spec)
    assert "hunter2" not in await workshop.error(text, debug=True)


async def test_line_is_shown_at_debug_level(workshop: Workshop) -> None:
    text = writing('{"name":"k"}')
    assert await workshop.error(text) == f'{IN_OUTPUT}"value" field is missing'
    assert await workshop.error(text, debug=True) == f'{IN_OUTPUT}"value" field is missing, line: {{"name":"k"}}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines(extra="x", v="x"), 'key "extra": unexpected output, remove from step outputs or define in '),
        (lines(v=5), f'key "v": {MISMATCHED.format("string", "number")}'),
        (lines(n=True, v="x"), f'key "n": {MISMATCHED.format("number", "boolean")}'),
        (lines(v=["x"]), f'key "v": {MISMATCHED.format("string", "array")}'),
    ],
    ids=["undeclared", "number", "boolean", "array"],
)  # fmt: skip
async def test_undeclared_outputs_are_refused(workshop: Workshop, content: str, message: str) -> None:
    shown = await workshop.error(writing(content, spec={"outputs": OUTPUTS}))
    assert shown.startswith(IN_OUTPUT + message)


async def test_missing_output_is_reported_without_a_line(workshop: Workshop) -> None:
    shown = await workshop.error(writing(lines(n=1), spec={"outputs": OUTPUTS}))
    assert shown == 'output file: key "v": missing output, add to step outputs or remove from step specification'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (lines(v="x"), {"v": "x", "n": 5}),
        (lines(v="first") + lines(v="last", n=1.5), {"v": "last", "n": 1.5}),
        (lines(v=" $" + "{{ '${{ 1 }}' }} "), {"v": " ${{ 1 }} ", "n": 5}),
        ('\n{"name":"v","value":"x","other":1}\r\n\r\n\n', {"v": "x", "n": 5}),
        ('{"name":"v","value":"no newline"}', {"v": "no newline", "n": 5}),
        (lines(v="x" * 100_000), {"v": "x" * 100_000, "n": 5}),
    ],
    ids=["default", "last wins", "not expanded", "empty lines and other keys", "no newline", "long line"],
)
async def test_outputs_are_read(workshop: Workshop, content: str, expected: dict[str, Any]) -> None:
    assert (await result(workshop, writing(content, spec={"outputs": OUTPUTS}))).outputs == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [("string", "x"), ("number", -2.5), ("boolean", False), ("array", [1, "a", None]), ("struct", {"a": {"b": []}})],
)
async def test_outputs_of_every_type_reach_later_steps(workshop: Workshop, kind: str, value: Any) -> None:
    workshop.write("give", writing(lines(o=value), spec={"outputs": {"o": {"type": kind}}}))
    workshop.write("take", writing("", spec={"inputs": {"i": {"type": kind}}}))
    take = {"name": "b", "step": "./take", "inputs": {"i": "${{ steps.a.outputs.o }}"}}
    root = await result(workshop, run_list({"name": "a", "step": "./give"}, take))
    assert root.sub_results[1].inputs == {"i": value}


# Exports


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text\nline", "text\nline"),
        ("", ""),
        (True, "true"),
        (False, "false"),
        (5, "5"),
        (5.0, "5"),
        (56.99, "56.99"),
        (-0.5, "-0.5"),
        (1e21, "1000000000000000000000"),
        (1e-7, "0.0000001"),
        (2**53, "9007199254740992"),
    ],
)
async def test_exports_are_converted_to_text(workshop: Workshop, value: Any, expected: str) -> None:
    root = await result(workshop, writing(lines(K=value), to="export_file"))
    assert root.exports == {"K": expected}


@pytest.mark.parametrize(("value", "kind"), [([1], "array"), ({"a": 1}, "struct")])
async def test_exports_without_text_form_are_refused(workshop: Workshop, value: Any, kind: str) -> None:
    message = f'{IN_EXPORT}key "K": cannot convert value type "{kind}" to string'
    assert await workshop.error(writing(lines(K=value), to="export_file")) == message


async def test_exports_with_invalid_outputs_are_dropped(workshop: Workshop) -> None:
    workshop.write("both", shell("echo wrong >${{ output_file }}; echo wrong >${{ export_file }}"))
    assert (await workshop.error(run_list({"name": "a", "step": "./both"}))).startswith(
        'step "a": output file of step "a", line 1: '
    )


# Delegates


@pytest.mark.parametrize(
    "content",
    [
        '{"outputs": {"any": [1, {"a": "b"}]}}',
        '{"step": {}, "status": "success", "outputs": {"any": [1, {"a": "b"}]}}\n',
    ],
)
async def test_command_delegates_outputs_to_step_result(workshop: Workshop, content: str) -> None:
    root = await result(workshop, writing(content, spec={"outputs": "delegate"}))
    assert root.outputs == {"any": [1, {"a": "b"}]}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"outputs": 5}', lines(a=1) * 2])
async def test_delegated_file_must_be_one_step_result(workshop: Workshop, content: str) -> None:
    message = await workshop.error(writing(content, spec={"outputs": "delegate"}))
    assert message.startswith("output file: the whole file must be one step result")


# Scripts


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_written_by_powershell_are_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "output").write_text('{"name": "a", "value": "ü"}\r\n', encoding=encoding, newline="")
    assert read_any_outputs(Source(str(tmp_path / "output"), "output file")) == {"a": "ü"}


async def test_script_returns_outputs_of_any_name_and_exports(workshop: Workshop) -> None:
    write = """echo '{"name": "any", "value": {"a": [1]}}' >>${{ output_file }}
        echo '{"name": "E", "value": true}' >>${{ export_file }}"""
    steps = script(write, 'echo "${{ steps.s1.outputs.any.a[0] }} $E"')
    assert await workshop.output(steps) == ["1 true"]


async def test_every_step_has_its_own_files(workshop: Workshop, temporary: str) -> None:
    """The files are empty and private, and are removed after the step."""
    show = "stat --format '%a %s %n' ${{ output_file }} ${{ export_file }}"
    shown = [line.split(" ") for line in await workshop.output(script(show, show))]
    assert {(mode, size) for mode, size, _ in shown} == {("600", "0")}
    paths: list[Path] = [workshop.work_dir / path for _, _, path in shown]
    assert len(set(paths)) == 4
    assert not any(path.exists() for path in paths)
