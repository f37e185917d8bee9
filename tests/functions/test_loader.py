"""From the text of a step file to a function."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from msgspec import UNSET

from step_runner import shown
from step_runner.errors import FetchError, FunctionFileError
from step_runner.functions.loader import load_function, load_run_list, read_file
from step_runner.model import (
    Dynamic,
    Exec,
    Function,
    Git,
    Local,
    Oci,
    Parameter,
    Place,
    Script,
    Sequence,
    Spec,
    Step,
    Stop,
    StopStage,
    ValueType,
)

if TYPE_CHECKING:
    from pathlib import Path

EXEC = "exec: {command: [a]}\n"


def function(specification: str, definition: str) -> Function:
    return load_function(f"{specification}\n---\n{definition}", file="step.yml", directory="/d")[0]


def steps(items: str) -> tuple[Step, ...]:
    body = function("{}", "run:\n" + items).body
    assert isinstance(body, Sequence)
    return body.steps


def warnings(text: str) -> list[str]:
    return [str(problem) for problem in load_function(text, file="step.yml")[1]]


def errors(text: str) -> list[str]:
    with pytest.raises(FunctionFileError) as caught:
        load_function(text, file="step.yml")
    return str(caught.value).split(shown.INDENTED)


def test_loader_reads_an_exec_function() -> None:
    text = """
spec:
  inputs:
    who: {type: string, default: world, description: Whom to greet}
    token: {type: string, sensitive: true}
  outputs:
    length: {type: number}
---
env: {LANG: C}
exec:
  command: [echo, "hello ${{ inputs.who }}"]
  work_dir: /tmp
"""

    assert load_function(text, file="hello/func.yml", directory="/x/hello") == (
        Function(
            spec=Spec(
                inputs={
                    "who": Parameter(type=ValueType.STRING, default="world", description="Whom to greet"),
                    "token": Parameter(type=ValueType.STRING, sensitive=True),
                },
                outputs={"length": Parameter(type=ValueType.NUMBER)},
            ),
            body=Exec(command=("echo", "hello ${{ inputs.who }}"), work_dir="/tmp"),
            env={"LANG": "C"},
            directory="/x/hello",
            file="hello/func.yml",
        ),
        (),
    )


@pytest.mark.parametrize(
    ("written", "stop"),
    [
        ("{signal: SIGINT, grace: 10s}", (StopStage(signal="SIGINT", wait=10.0),)),
        ("{grace: 1m30s}", (StopStage(signal="SIGTERM", wait=90.0),)),
        ("{grace: 5}", (StopStage(signal="SIGTERM", wait=5.0),)),
        ("{signal: SIGQUIT}", (StopStage(signal="SIGQUIT"),)),
        (
            "{grace: 10, first: leader}",
            (StopStage(signal="SIGTERM", wait=5.0, to="leader"), StopStage(signal="SIGTERM", wait=5.0, to="rest")),
        ),
        (
            "{first: leader}",
            (StopStage(signal="SIGTERM", to="leader"), StopStage(signal="SIGTERM", to="rest")),
        ),
        (
            "[{signal: SIGINT, to: leader, wait: 10s}, {signal: SIGTERM, wait: 500ms}]",
            (StopStage(signal="SIGINT", wait=10.0, to="leader"), StopStage(signal="SIGTERM", wait=0.5)),
        ),
        ("{}", ()),
        ("null", ()),
    ],
)
def test_loader_reads_the_stages_of_stop(written: str, stop: Stop) -> None:
    body = function("{}", f"exec: {{command: [a], stop: {written}}}").body
    assert isinstance(body, Exec)
    assert body.stop == stop


def test_loader_reads_a_sequence() -> None:
    body = function(
        "spec: {outputs: {o: {type: array}}}",
        """
run:
  - name: first
    func: ./a
    inputs: {x: 1, y: [{z: "${{ env.A }}"}]}
    env: {A: b}
  - name: second
    script: echo
outputs: {o: [1, "${{ steps.first.outputs.o }}"]}
""",
    ).body

    assert body == Sequence(
        steps=(
            Step(
                name="first",
                call=Local(path="./a"),
                inputs={"x": 1, "y": [{"z": "${{ env.A }}"}]},
                env={"A": "b"},
                place=Place(file="step.yml", line=5, column=5),
            ),
            Step(name="second", call=Script(text="echo"), place=Place(file="step.yml", line=9, column=5)),
        ),
        outputs={"o": [1, "${{ steps.first.outputs.o }}"]},
    )


@pytest.mark.parametrize("specification", ["{}", "spec:", "spec: {}", "spec: {inputs: , outputs: }", "---"])
def test_loader_accepts_an_empty_specification(specification: str) -> None:
    assert function(specification, EXEC).spec == Spec()


def test_loader_ignores_a_third_document() -> None:
    assert function("{}", EXEC + "---\n}{\n").body == Exec(command=("a",))


@pytest.mark.parametrize(
    ("written", "default"),
    [
        ("{type: string, default: '${{ env.X }}'}", "${{ env.X }}"),
        ("{type: string, default: 2024-01-01}", "2024-01-01"),
        ("{type: string, default: yes}", "yes"),
        ("{type: string, default: ''}", ""),
        ("{type: number, default: 1e3}", 1000),
        ("{type: boolean, default: False}", False),
        ("{type: array, default: [1, {a: b}]}", [1, {"a": "b"}]),
        ("{type: struct, default: {a: [1]}}", {"a": [1]}),
        ("{type: struct, default: null}", UNSET),
        ("{type: struct}", UNSET),
    ],
)  # fmt: skip
def test_loader_reads_defaults(written: str, default: object) -> None:
    """A default has the declared type and is not expanded; null means no default."""
    assert function(f"spec:\n  inputs:\n    x: {written}", EXEC).spec.inputs["x"].default == default


def test_loader_keeps_the_text_of_command_items() -> None:
    body = function("{}", "exec: {command: [echo, 2.50, yes, 010, True, 1_000, 2024-01-01]}").body

    assert body == Exec(command=("echo", "2.50", "yes", "010", "True", "1_000", "2024-01-01"))


def test_loader_keeps_the_text_of_env_and_empties_null() -> None:
    (step,) = steps("  - {name: a, script: x, env: {A: 010, B: 1e3, C: 1.10, D: True, E: , F: ~, G: 2024-01-01}}")

    assert step.env == {"A": "010", "B": "1e3", "C": "1.10", "D": "True", "E": "", "F": "", "G": "2024-01-01"}


@pytest.mark.parametrize(
    ("called", "call"),
    [
        ("func: ./a", Local(path="./a")),
        ("step: ./a", Local(path="./a")),
        ("func: ${{ vars.X }}", Dynamic(template="${{ vars.X }}")),
        ("func: {git: {url: h/x, rev: 1.10}}", Git(url="https://h/x", revision="1.10")),
        (
            "step: {git: {url: h/x, rev: v, dir: a, file: b.yml}}",
            Git(url="https://h/x", revision="v", directory="a", file="b.yml"),
        ),
        ("func: {oci: {registry: r.io, repository: a, tag: ''}}", Oci(registry="r.io", repository="a")),
        ("func: {oci: {registry: r.io, repository: a, tag: 1.0}}", Oci(registry="r.io", repository="a", tag="1.0")),
        ("script: true", Script(text="true")),
    ],
)  # fmt: skip
def test_loader_reads_calls(called: str, call: object) -> None:
    (step,) = steps(f"  - name: a\n    {called}")

    assert step.call == call


def test_loader_accepts_expressions_in_keys_of_inputs_and_env() -> None:
    (step,) = steps('  - {name: a, func: ./a, inputs: {"${{ vars.K }}": 1}, env: {"X_${{ vars.K }}": 1}}')

    assert step.inputs == {"${{ vars.K }}": 1}
    assert step.env == {"X_${{ vars.K }}": "1"}


def test_loader_accepts_repeated_step_names() -> None:
    assert [step.name for step in steps("  - {name: a, script: x}\n  - {name: a, script: y}")] == ["a", "a"]


def test_loader_delegates_outputs_to_a_step() -> None:
    made = function("spec: {outputs: delegate}", "run: [{name: a, func: ./a}]\ndelegate: a")

    assert made.spec.outputs == "delegate"
    assert isinstance(made.body, Sequence)
    assert made.body.delegate == "a"


def test_loader_delegates_outputs_of_command_to_its_file() -> None:
    assert function("spec: {outputs: delegate}", EXEC).spec.outputs == "delegate"


def test_loader_warns_of_unknown_keys() -> None:
    text = "spec:\n  input: {}\n---\nexec: {command: [a], cmd: b}\nname: x\n"

    assert warnings(text) == [
        'step.yml:2:3: warning: unknown key "input" in "spec" has no effect; did you mean "inputs"?',
        'step.yml:4:22: warning: unknown key "cmd" in "exec" has no effect; did you mean "command"?',
        'step.yml:5:1: warning: unknown key "name" in the definition has no effect; '
        "known: delegate, env, exec, outputs, run",
    ]


def test_loader_warns_of_keys_without_effect() -> None:
    assert warnings("{}\n---\nexec: {command: [a]}\noutputs: {a: 1}\ndelegate: b\n") == [
        'step.yml:4:10: warning: "outputs" has no effect, because a command writes its outputs to ${{ output_file }}; '
        "remove it",
        'step.yml:5:11: warning: "delegate" has no effect here; remove it',
    ]


def test_loader_refuses_an_unknown_key_next_to_spec() -> None:
    assert errors("spec:\ninputs: {}\n---\n" + EXEC) == [
        'step.yml:2:1: the specification has no key "inputs"; known: spec'
    ]


def test_loader_reports_all_problems_in_the_order_of_the_file() -> None:
    assert errors(
        "spec:\n  inputs:\n    a: {type: nubmer}\n    b: {}\n---\n"
        "run:\n  - name: 1\n  - {name: a, script: x, func: y}\n"
    ) == [
        'step.yml:3:15: "type" of input "a" cannot be "nubmer"; did you mean "number"?',
        'step.yml:4:8: input "b" has no type; write "string", "number", "boolean", "array" or "struct"',
        'step.yml:7:5: step "1" has neither "func" nor "script"; add one of them',
        'step.yml:7:11: "name" of step "1" is a number, not a string; use letters, digits and _, and no digit first',
        'step.yml:8:26: step "a" has both "script" and "func"; keep one of them',
        'step.yml:8:32: "y" is not a valid reference: for a function on this machine write "./y"',
    ]


def test_loader_bounds_the_number_of_problems() -> None:
    """A file yields at most a hundred errors and a hundred warnings."""
    items = "".join(f"  - {{name: a, unknown{number}: 1}}\n" for number in range(500))

    assert len(errors("{}\n---\nrun:\n" + items)) == 200


def test_loader_reads_a_bare_run_list() -> None:
    text = "- script: echo\n- name: 1-2\n  func: ./y\n  env: {a-b: c}\n"
    made, problems = load_run_list(text, file="STEPS", directory="/x")

    assert problems == ()
    assert made == Function(
        spec=Spec(),
        body=Sequence(
            steps=(
                Step(name="", call=Script(text="echo"), place=Place(file="STEPS", line=1, column=3)),
                Step(
                    name="1-2",
                    call=Local(path="./y"),
                    env={"a-b": "c"},
                    place=Place(file="STEPS", line=2, column=3),
                ),
            )
        ),
        directory="/x",
        file="STEPS",
    )


def test_loader_accepts_json_and_an_empty_bare_run_list() -> None:
    assert load_run_list('[{"script": "echo"}]', file="STEPS")[0].body != Sequence(steps=())
    assert load_run_list("[]", file="STEPS")[0].body == Sequence(steps=())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'STEPS:1:1: the run list is empty; write a list whose items begin with "- name: NAME"'),
        ("a", 'STEPS:1:1: the run list is a string, not a list; write a list whose items begin with "- name: NAME"'),
        ("- name: a", 'STEPS:1:3: step "a" has neither "func" nor "script"; add one of them'),
    ],
)  # fmt: skip
def test_loader_refuses_an_invalid_bare_run_list(text: str, message: str) -> None:
    with pytest.raises(FunctionFileError) as caught:
        load_run_list(text, file="STEPS")

    assert str(caught.value) == message


def test_loader_reads_a_file(tmp_path: Path) -> None:
    (tmp_path / "step.yml").write_text("{}\n---\n" + EXEC)
    made, _ = read_file(tmp_path / "step.yml", "shown.yml").result()

    assert (made.directory, made.file) == (str(tmp_path), "shown.yml")


def test_loader_reads_the_function_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "step.yml").write_text("{}\n---\n" + EXEC)

    assert read_file(tmp_path).result()[0].file == f"{tmp_path}/step.yml"


def test_loader_refuses_a_path_that_is_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yml")
    (tmp_path / "large.yml").write_bytes(b"#" * (4 * 1024 * 1024 + 1))

    with pytest.raises(FetchError, match=r"pipe.yml: not a regular file: a step file must be one"):
        read_file(tmp_path / "pipe.yml")
    with pytest.raises(FetchError, match=r"large.yml: is larger than 4 MiB; a step file must be smaller"):
        read_file(tmp_path / "large.yml")
    with pytest.raises(FetchError, match=r"pipe.yml/a.yml: no such file; a function is a directory with"):
        read_file(tmp_path / "pipe.yml" / "a.yml")


def test_loader_names_a_similar_file_for_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "hello.yml").write_text("")

    with pytest.raises(FetchError) as caught:
        read_file(tmp_path / "helo.yml", "helo.yml")

    assert str(caught.value) == (
        "helo.yml: no such file, but its directory has hello.yml; a function is a directory with func.yml or step.yml"
    )


def test_loader_refuses_a_file_that_is_not_utf_8_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "step.yml").write_bytes(b"{}\n# \xc3\xa4\xff\n")

    with pytest.raises(FunctionFileError) as caught:
        read_file(tmp_path / "step.yml", "step.yml")

    assert str(caught.value) == "step.yml:2:4: the byte 0xff is not UTF-8: save the file as UTF-8"


def test_loader_reads_twenty_script_steps_in_milliseconds() -> None:
    """A job's run list is read on every request; the bound is far above the usual 0.6 ms."""
    items = "".join(f"  - name: s{number}\n    script: |\n      echo {number}\n" for number in range(20))
    load_function("{}\n---\nrun:\n" + items, file="step.yml")
    best = min(_seconds("{}\n---\nrun:\n" + items) for _ in range(20))

    assert best < 0.01


def _seconds(text: str) -> float:
    started = time.perf_counter()
    load_function(text, file="step.yml")
    return time.perf_counter() - started
