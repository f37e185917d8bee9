"""An invalid output or export fails its step, which the error names, and never the step runner."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from typing import TYPE_CHECKING

import pytest
from tests.support.steps import command, run_list, script, shell

from step_runner.errors import InternalError, StepError, causes, message
from step_runner.runner.files import LARGE, Source

if TYPE_CHECKING:
    from pathlib import Path

    from tests.runner.conftest import Workshop

EXPORT, OUTPUT = "export_file", "output_file"
GOOD = b'{"name": "A", "value": "a"}\n\n'
"""Two lines before the invalid third one."""

BOTH = [
    pytest.param(b'{"name": "K", "value": "\xff"}', "byte 25 is 0xff, which is not valid UTF-8: ", id="bad byte"),
    pytest.param(b'{"name": "K", "value": "\xed\xa0\x80"}', "byte 25 is 0xed, which is not ", id="surrogate"),
    pytest.param(rb'{"name": "K", "value": "\ud83d"}', r'"\ud83d" is half of a surrogate pair: ', id="high half"),
    pytest.param(rb'{"name": "K", "value": "\udc00"}', r'"\udc00" is half of a surrogate pair: ', id="low half"),
    pytest.param(rb'{"name": "\ud83dx", "value": 1}', r'"\ud83d" is half of a surrogate pair: ', id="name"),
    pytest.param(b'{"name": "", "value": 1}', '"name" field value is empty', id="empty name"),
    pytest.param(b'{"name": "K", "value": 1e999}', "a number is larger than a double can be: ", id="1e999"),
    pytest.param(b'{"name": "K", "value": NaN}', "JSON is malformed: ", id="NaN"),
    pytest.param(b'{"name": "K", "value": %s}' % (b"9" * 400), 'key "K": the number is too large', id="400 digits"),
    pytest.param(
        b'{"name": "K", "value": %s}' % (b"9" * 9000), "a number is larger than a double can be: ", id="9000 digits"
    ),
    pytest.param(
        b'{"name": "K", "value": %s}' % (b"[" * 200 + b"]" * 200),
        'key "K": the value is nested more than 100 levels deep',
        id="nested",
    ),
    pytest.param(
        b'{"name": "K", "value": %s}' % (b"[" * 100_000 + b"]" * 100_000), "the value is nested too deeply: ", id="deep"
    ),
    pytest.param(b"\0", "JSON is malformed: ", id="NUL"),
]
EXPORTS = [
    pytest.param(b'{"name": "A=B", "value": 1}', '"A=B" is not a valid name of an environment variable: ', id="A=B"),
    pytest.param(rb'{"name": "K", "value": "a\u0000"}', 'the value of "K" holds a NUL character', id="NUL in value"),
    pytest.param(rb'{"name": "K\u0000", "value": 1}', r'the name "K\0" holds a NUL character', id="NUL in name"),
    pytest.param(
        b'{"name": "BIG", "value": "%s"}' % (b"x" * 131_068),
        '"BIG" has 131072 bytes, and one variable can have 131071: ',
        id="long variable",
    ),
]


def writing(workshop: Workshop, content: bytes, to: str) -> str:
    """Return a step that writes these bytes, and a next step that must not start."""
    (workshop.work_dir / "content").write_bytes(content)
    first = {"name": "x", "script": f"cat content >${{{{ {to} }}}}"}
    return run_list(first, {"name": "next", "script": "echo started"})


async def fault(workshop: Workshop, text: str, **fields: object) -> str:
    """Return the message of the step `x`; check that it alone has failed."""
    outcome = await workshop.run(text, **fields)  # type: ignore[arg-type]
    assert isinstance(outcome.error, StepError)
    assert outcome.error.step == "x"
    assert not any(isinstance(cause, InternalError) for cause in causes(outcome.error))
    assert "started" not in workshop.log()
    return message(outcome.error)


@pytest.mark.parametrize(("line", "sentence"), [*BOTH, *EXPORTS])
async def test_invalid_export_names_step_and_line(workshop: Workshop, line: bytes, sentence: str) -> None:
    """A line that cannot be a variable fails the step that wrote it."""
    shown = await fault(workshop, writing(workshop, GOOD + line, EXPORT))
    assert shown.startswith(f'step "x": export file of step "x", line 3: {sentence}')


@pytest.mark.parametrize(("line", "sentence"), BOTH)
async def test_invalid_output_names_step_and_line(workshop: Workshop, line: bytes, sentence: str) -> None:
    """A line that cannot be an output fails the step that wrote it."""
    shown = await fault(workshop, writing(workshop, GOOD + line, OUTPUT))
    assert shown.startswith(f'step "x": output file of step "x", line 3: {sentence}')


async def test_longest_variable_reaches_next_step(workshop: Workshop) -> None:
    """The kernel limits one variable: one byte less than the refused size can be passed."""
    line = b'{"name": "BIG", "value": "%s"}' % (b"x" * 131_067)
    text = writing(workshop, line, EXPORT).replace("echo started", "echo ${#BIG}")
    assert await workshop.output(text) == ["131067"]


async def test_exports_filling_environment_name_the_largest(workshop: Workshop) -> None:
    """Variables that are small enough each, but too large in sum, fail the step that exports the last of them."""
    lines = [json.dumps({"name": f"V{number}", "value": "x" * (100_000 + number)}) for number in range(90)]
    shown = await fault(workshop, writing(workshop, "\n".join(lines).encode(), EXPORT))
    assert shown.startswith('step "x": export file of step "x", line 90: the exports make the environment ')
    assert shown.endswith('; "V89" has 100093 bytes: write it to a file')


async def test_command_without_space_names_largest_export(workshop: Workshop) -> None:
    """An environment that leaves too little space for a command is named, with the step that filled it."""
    lines = [json.dumps({"name": f"V{number}", "value": "x" * (100_000 + number)}) for number in range(15)]
    (workshop.work_dir / "content").write_text("\n".join(lines))
    workshop.write("many", command("echo", *["y" * 90_000] * 8))
    fill = {"name": "fill", "script": "cat content >${{ export_file }}"}
    shown = await workshop.error(run_list(fill, {"name": "many", "step": "./many"}))
    assert shown.startswith('step "many": exec: exec: "echo": argument list too long: ')
    assert shown.endswith('; the largest variable is "V14" with 100018 bytes, exported by step "fill"')


REPLACED = [
    ("rm ${{ %s }}", "No such file or directory: the step must append to "),
    ("rm ${{ %s }}; mkdir ${{ %s }}", "not a regular file: the step must append to "),
    ("rm ${{ %s }}; mkfifo ${{ %s }}", "not a regular file: the step must append to "),
    ("ln -sf /dev/zero ${{ %s }}", "not a regular file: the step must append to "),
    ("rm ${{ %s }}; ln -s $(basename ${{ %s }}) ${{ %s }}", "Too many levels of symbolic links: the step"),
    ("ln -sf /no/such/file ${{ %s }}", "No such file or directory: the step must append to "),
    ("truncate --size 20G ${{ %s }}", "larger than 16 MiB: write large values to files, and their paths here"),
]


@pytest.mark.parametrize("to", [EXPORT, OUTPUT])
@pytest.mark.parametrize(("text", "sentence"), REPLACED)
async def test_replaced_file_names_the_step(workshop: Workshop, to: str, text: str, sentence: str) -> None:
    """A replaced, removed or huge file fails the step, and costs neither time nor memory."""
    steps = {"name": "x", "script": text.replace("%s", to)}, {"name": "next", "script": "echo started"}
    shown = await fault(workshop, run_list(*steps))
    assert shown.startswith(f'step "x": {to.replace("_", " ")} of step "x": {sentence}')
    shutil.rmtree(workshop.scratch)
    workshop.scratch.mkdir()


async def test_file_of_16_mib_is_read(workshop: Workshop) -> None:
    """The size limit of a file is exactly 16 MiB."""
    line = b'{"name": "a", "value": 1, "filling": "'
    workshop.write(
        "x", "{spec: {outputs: {a: {type: number}}}}\n---\nexec: {command: [cp, content, '${{ output_file }}']}\n"
    )
    (workshop.work_dir / "content").write_bytes(line + b"x" * (16 * 1024 * 1024 - len(line) - 2) + b'"}')
    assert await workshop.output(run_list({"name": "x", "step": "./x"})) == []
    (workshop.work_dir / "content").write_bytes(line + b"x" * (16 * 1024 * 1024 - len(line) - 1) + b'"}')
    assert "larger than 16 MiB" in await workshop.error(run_list({"name": "x", "step": "./x"}))


async def test_large_file_is_read_while_other_jobs_run(tmp_path: Path) -> None:
    """Other jobs run while a large file is read."""
    path = tmp_path / "output"
    path.write_bytes(b"x" * (LARGE + 1))
    turn = threading.Event()
    asyncio.get_running_loop().call_soon(turn.set)
    assert await Source(str(path), "output file").read(lambda _: turn.wait(30))


async def test_shown_line_is_short_at_debug_level(workshop: Workshop) -> None:
    """A long line does not lengthen the message."""
    shown = await fault(workshop, writing(workshop, b"x" * 100_000, OUTPUT), debug=True)
    assert shown.endswith(", line: " + "x" * 200)


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ({"script": "echo ${{ vars.NUL }}"}, "exec: the script holds a NUL character"),
        ({"script": "true", "env": {"K": "${{ vars.NUL }}"}}, 'env "K": the value of "K" holds a NUL character'),
        ({"script": "true", "env": {"${{ vars.NAME }}": "1"}}, 'env "A=B": "A=B" is not a valid name'),
        ({"step": "./words"}, "exec: argument 1 holds a NUL character"),
    ],
)
async def test_value_invalid_for_processes_names_step(
    workshop: Workshop, step: dict[str, object], sentence: str
) -> None:
    """The step that would start with such a value names it."""
    workshop.write("words", command("echo", "${{ vars.NUL }}"))
    shown = await fault(workshop, run_list({"name": "x", **step}), variables={"NUL": "a\0b", "NAME": "A=B"})
    assert shown.startswith(f'step "x": {sentence}')


async def test_job_environment_invalid_for_processes_is_named(workshop: Workshop) -> None:
    """A variable of the request is named too."""
    shown = await fault(workshop, run_list({"name": "x", "script": "true"}), env={"A=B": "1"})
    assert shown.startswith('step "x": exec: "A=B" is not a valid name of an environment variable: ')


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("true ${{ output_file }}", "making {}/output-"), ("true #" + "x" * 200_000, "exec: writing the script to {}")],
    ids=["files", "long script"],
)
async def test_removed_scratch_directory_fails_the_next_step(workshop: Workshop, text: str, sentence: str) -> None:
    """A background process may remove the runner's files: the next step says which one is missing."""
    shutil.rmtree(workshop.scratch)
    shown = await fault(workshop, run_list({"name": "x", "script": text}))
    assert shown.startswith(f'step "x": {sentence.format(workshop.scratch)}')
    workshop.scratch.mkdir()


@pytest.mark.parametrize("name", ["a b", "a$b", "a;b", "a&b"])
async def test_unquoted_path_explains_missing_output(workshop: Workshop, name: str) -> None:
    """If an unquoted path has sent an output elsewhere, the error for its reader says so."""
    scratch = workshop.scratch / name
    scratch.mkdir()
    write = {"name": "x", "script": 'echo \'{"name": "y", "value": 1}\' > ${{ output_file }} || true'}
    read = {"name": "read", "script": "echo ${{ steps.x.outputs.y }}"}
    shown = await workshop.error(run_list(write, read), scratch=str(scratch))
    assert "attribute not found; the path " in shown
    assert 'means something else to a shell unless it is quoted: write > "${{ output_file }}"' in shown
    shutil.rmtree(workshop.scratch)
    workshop.scratch.mkdir()


async def test_unquoted_path_explains_missing_declared_output(workshop: Workshop) -> None:
    """If an unquoted path has sent a declared output elsewhere, the error gives the reason."""
    scratch = workshop.scratch / "a b"
    scratch.mkdir()
    workshop.write("x", shell("echo 1 > ${{ output_file }}", spec={"outputs": {"y": {"type": "number"}}}))
    shown = await fault(workshop, run_list({"name": "x", "step": "./x"}), scratch=str(scratch))
    assert "missing output" in shown
    assert shown.endswith('unless it is quoted: write > "${{ output_file }}"')
    shutil.rmtree(workshop.scratch)
    workshop.scratch.mkdir()


async def test_unquoted_path_explains_missing_exports(workshop: Workshop) -> None:
    """A step that names its export file, but writes nothing there, gets a warning in the log."""
    scratch = workshop.scratch / "a b"
    scratch.mkdir()
    write = {"name": "x", "script": 'echo \'{"name": "E", "value": 1}\' > ${{ export_file }}'}
    await workshop.run(run_list(write), scratch=str(scratch))
    assert "Warning: nothing was exported; the path " in workshop.log()
    assert 'unless it is quoted: write > "${{ export_file }}"\n' in workshop.log()
    shutil.rmtree(workshop.scratch)
    workshop.scratch.mkdir()


async def test_missing_output_with_sound_path_explains_no_path(workshop: Workshop) -> None:
    """If the path needs no quotes, the error does not mention them."""
    assert "quoted" not in await workshop.error(script("true", "echo ${{ steps.s1.outputs.y }}"))
