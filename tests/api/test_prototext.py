"""Functions in protobuf's text form."""

from __future__ import annotations

import msgspec
import pytest
from google.protobuf import text_format
from google.protobuf.json_format import ParseDict

from step_runner.api.pb import step_pb2 as pb
from step_runner.api.prototext import read_function
from step_runner.errors import FunctionFileError
from step_runner.jobs.report import result_tree
from step_runner.model import (
    Builtin,
    Dynamic,
    Exec,
    Function,
    Git,
    Local,
    Oci,
    Parameter,
    Reference,
    Script,
    Sequence,
    Spec,
    Status,
    Step,
    StepResult,
    ValueType,
)

CALLS: list[Reference | Script] = [
    Local(path="./a/b"),
    Local(path="/a", file="x.yml"),
    Git(url="https://h/r", revision="v1", directory="a/b", file="x.yml"),
    Oci(registry="h.io", repository="a/b", tag="1", directory="d"),
    Builtin(name="x/y"),
    Dynamic(template="${{ vars.X }}"),
    Script(text="echo"),
]

FUNCTIONS = [
    pytest.param(
        Function(
            spec=Spec(
                inputs={
                    "a": Parameter(type=ValueType.STRING),
                    "b": Parameter(type=ValueType.NUMBER, default=0, sensitive=True),
                },
                outputs={"c": Parameter(type=ValueType.STRUCT, default={"x": [1, 2.5, None, True]})},
            ),
            body=Exec(command=("echo", "hi"), work_dir="/d"),
            env={"A": "${{ inputs.a }}"},
        ),
        id="command",
    ),
    pytest.param(
        Function(
            spec=Spec(outputs="delegate"),
            body=Sequence(
                steps=tuple(Step(name=f"s{index}", call=call, env={"E": "1"}) for index, call in enumerate(CALLS)),
                delegate="s1",
            ),
        ),
        id="steps with every kind of reference",
    ),
    pytest.param(
        Function(
            spec=Spec(),
            body=Sequence(
                steps=(Step(name="s", call=CALLS[0], inputs={"a": [1, {"b": None}], "c": ""}),), outputs={"x": 1e300}
            ),
        ),
        id="values",
    ),
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_text_form_parses_to_same_function(function: Function) -> None:
    """A definition in protobuf text form is the function that the same YAML gives."""
    result = StepResult(name="", call=None, inputs={}, function=function, status=Status.SUCCESS, env={})
    message = ParseDict(result_tree(result), pb.StepResult()).specDefinition
    read = read_function(text_format.MessageToString(message), file="f", directory="/x")
    assert read == msgspec.structs.replace(function, directory="/x", file="f")


STEP = 'definition {{ steps {{ name: "a" step {{ {} }} }} }}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "spec { foo: 1 }",
            'f:1:8: not a SpecDefinition in protobuf\'s text form: Message type "proto.Spec" has no field named "foo"',
            id="unknown field",
        ),
        pytest.param("", "f:1:1: the definition must have either exec or steps; keep one of them", id="empty"),
        pytest.param(
            'definition { exec { command: "a" } steps { name: "b" } }',
            "f:1:1: the definition must have either exec or steps; keep one of them",
            id="both",
        ),
        pytest.param(
            "definition { exec { } }", 'f:1:1: exec has no command; add one, such as command: "echo"', id="no command"
        ),
        pytest.param(
            'spec { spec { inputs { key: "x" value { } } } }',
            'f:1:1: "x" has no type; write type: string, number, boolean, array or struct',
            id="no type",
        ),
        pytest.param(
            STEP.format("protocol: zip"),
            'f:1:1: step "a": references of the protocol zip are not supported; use local, git, oci or dist',
            id="unknown protocol",
        ),
        pytest.param(
            STEP.format('protocol: git url: "h/r"'),
            'f:1:1: step "a": the revision is missing; write a tag, a branch or a commit after the "@"',
            id="half a reference",
        ),
    ],
)
def test_text_form_mistake_is_reported(text: str, message: str) -> None:
    with pytest.raises(FunctionFileError) as caught:
        read_function(text, file="f")
    assert str(caught.value) == message


def test_older_list_of_path_parts_is_read_too() -> None:
    function = read_function(STEP.format('protocol: local path: "." path: "a"'), file="f")
    assert isinstance(function.body, Sequence)
    assert function.body.steps[0].call == Local(path="./a")
