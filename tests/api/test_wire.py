"""Field numbers of the messages: existing clients send those below 1000, so these can never change."""

from __future__ import annotations

from typing import Any

import pytest

from step_runner.api.pb import step_pb2 as pb

FIELDS: dict[Any, dict[str, int]] = {
    pb.RunRequest: {
        "id": 1,
        "work_dir": 2,
        "env": 3,
        "job": 5,
        "steps": 6,
        "graceful_exit_delay": 1000,
        "timeout": 1001,
    },
    pb.RunResponse: {},
    pb.CancelRequest: {"id": 1},
    pb.CloseRequest: {"id": 1},
    pb.CloseResponse: {},
    pb.StatusRequest: {"id": 1},
    pb.StatusResponse: {"jobs": 1},
    pb.FollowLogsRequest: {"id": 1, "offset": 2, "no_wait": 1000},
    pb.FollowLogsResponse: {"data": 1},
    pb.Job: {"variables": 1, "build_dir": 4},
    pb.Variable: {"key": 1, "value": 2, "file": 3, "masked": 4},
    pb.Status: {
        "id": 1,
        "message": 2,
        "status": 3,
        "start_time": 5,
        "end_time": 6,
        "error": 1000,
        "termination": 1001,
        "step": 1002,
        "kill_time": 1003,
    },
    pb.StatusError: {"kind": 1, "message": 2},
    pb.StepResult: {
        "step": 1,
        "specDefinition": 2,
        "status": 4,
        "outputs": 5,
        "exports": 6,
        "env": 7,
        "exec_result": 8,
        "sub_step_results": 9,
    },
    pb.StepResult.ExecResult: {"command": 1, "work_dir": 2, "exit_code": 3},
    pb.Step: {"name": 1, "step": 2, "env": 3, "inputs": 4},
    pb.Step.Reference: {
        "protocol": 1,
        "url": 2,
        "path": 3,
        "filename": 4,
        "version": 5,
        "registry": 6,
        "repository": 7,
        "tag": 8,
        "specDef": 9,
        "path_exp": 10,
        "paths": 11,
    },
    pb.PathParts: {"parts": 1},
    pb.SpecDefinition: {"spec": 1, "definition": 2},
    pb.Spec: {"spec": 1},
    pb.Spec.Content: {"inputs": 1, "outputs": 2, "output_method": 3},
    pb.Spec.Content.Input: {"type": 1, "default": 2, "sensitive": 3},
    pb.Spec.Content.Output: {"type": 1, "default": 2, "sensitive": 3},
    pb.Definition: {"type": 1, "exec": 2, "steps": 3, "outputs": 4, "env": 5, "delegate": 6},
    pb.Definition.Exec: {"command": 1, "work_dir": 2},
}

ENUMS: dict[str, tuple[Any, dict[str, int]]] = {
    "StepResult.Status": (
        pb.StepResult.Status,
        {"unspecified": 0, "running": 1, "success": 2, "failure": 3, "cancelled": 4},
    ),
    "StatusError.Kind": (
        pb.StatusError.Kind,
        {"unknown": 0, "step_failure": 1, "internal": 2, "cancelled": 3, "timeout": 4},
    ),
    "StepReferenceProtocol": (
        pb.StepReferenceProtocol,
        {
            "step_reference_protocol_unspecified": 0,
            "local": 1,
            "git": 2,
            "zip": 3,
            "oci": 4,
            "dist": 5,
            "dynamic": 6,
            "spec_def": 7,
        },
    ),
    "OutputMethod": (pb.OutputMethod, {"output_method_unspecified": 0, "outputs": 1, "delegate": 2}),
    "ValueType": (
        pb.ValueType,
        {"value_type_unspecified": 0, "string": 2, "number": 3, "boolean": 4, "struct": 5, "array": 6},
    ),
    "DefinitionType": (pb.DefinitionType, {"definition_type_unspecified": 0, "exec": 1, "steps": 2}),
}


@pytest.mark.parametrize("message", FIELDS, ids=lambda message: message.DESCRIPTOR.full_name)
def test_fields_have_numbers_of_contract(message: Any) -> None:
    numbers = {field.name: field.number for field in message.DESCRIPTOR.fields}

    assert numbers == FIELDS[message]


@pytest.mark.parametrize("name", ENUMS)
def test_enum_values_have_numbers_of_contract(name: str) -> None:
    enum, numbers = ENUMS[name]

    assert dict(enum.items()) == numbers


def test_service_has_calls_of_contract() -> None:
    calls = {
        method.name: (method.input_type.name, method.output_type.name, method.server_streaming)
        for method in pb.DESCRIPTOR.services_by_name["StepRunner"].methods
    }

    assert calls == {
        "Run": ("RunRequest", "RunResponse", False),
        "FollowLogs": ("FollowLogsRequest", "FollowLogsResponse", True),
        "Status": ("StatusRequest", "StatusResponse", False),
        "Cancel": ("CancelRequest", "CancelResponse", False),
        "Close": ("CloseRequest", "CloseResponse", False),
    }
    assert pb.DESCRIPTOR.services_by_name["StepRunner"].full_name == "proto.StepRunner"


def test_run_request_of_existing_client_is_understood() -> None:
    """The bytes are written by hand: fields 1, 2, 5 (with 4 inside) and 6, each length-delimited."""
    content = b"\x0a\x017" + b"\x12\x02/w" + b"\x2a\x04\x22\x02/b" + b"\x32\x02{}"

    request = pb.RunRequest.FromString(content)

    assert (request.id, request.work_dir, request.job.build_dir, request.steps) == ("7", "/w", "/b", "{}")
