"""Results as JSON, in the form that protobuf reads."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict

from gracefulexitcmd import Cause, EndedProcess, Exit, SignalSent
from step_runner.api.pb import step_pb2 as pb
from step_runner.api.prototext import result_text
from step_runner.jobs.local import LocalResult
from step_runner.jobs.report import result_tree, run_record, text, write
from step_runner.model import (
    Builtin,
    Dynamic,
    ErrorKind,
    Exec,
    ExecResult,
    Function,
    Git,
    JobStatus,
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
    Termination,
    Value,
    ValueType,
)

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = Function(spec=Spec(), body=Exec(command=("echo", "hi"), work_dir="/d"), env={"A": "${{ env.B }}"})

REFERENCES = [
    pytest.param(Local(path="./a/b"), {"protocol": "local", "paths": {"parts": [".", "a", "b"]}}, id="local directory"),
    pytest.param(
        Local(path=".", file="x.yml"),
        {"protocol": "local", "paths": {"parts": ["."]}, "filename": "x.yml"},
        id="local file",
    ),
    pytest.param(
        Git(url="https://h/r", revision="v1", directory="steps/a", file="x.yml"),
        {
            "protocol": "git",
            "url": "https://h/r",
            "version": "v1",
            "paths": {"parts": ["steps", "a"]},
            "filename": "x.yml",
        },
        id="git",
    ),
    pytest.param(
        Git(url="https://h/r", revision="v1"), {"protocol": "git", "url": "https://h/r", "version": "v1"}, id="git root"
    ),
    pytest.param(
        Oci(registry="h", repository="a/b", tag="1", directory="d", file="x.yml"),
        {
            "protocol": "oci",
            "registry": "h",
            "repository": "a/b",
            "tag": "1",
            "paths": {"parts": ["d"]},
            "filename": "x.yml",
        },
        id="oci",
    ),
    pytest.param(Builtin(name="x/y"), {"protocol": "dist", "paths": {"parts": ["x", "y"]}}, id="builtin"),
    pytest.param(Dynamic(template="${{ vars.X }}"), {"protocol": "dynamic", "pathExp": "${{ vars.X }}"}, id="dynamic"),
    pytest.param(Script(text="echo"), {"protocol": "dist", "paths": {"parts": ["script"]}}, id="script"),
]

VALUES = [None, True, False, 0, 1, -2.5, "", "text", [], [1, [None, {"a": False}]], {}, {"a": {"b": [0]}}]


def result(**fields: Any) -> StepResult:
    blank = StepResult(name="", call=None, inputs={}, function=COMMAND, status=Status.SUCCESS, env={})
    return msgspec.structs.replace(blank, **fields)


def as_read(tree: dict[str, object]) -> dict[str, object]:
    """Return a step result as protobuf parses it. Raises ParseError for an unknown name or an invalid value."""
    return MessageToDict(ParseDict(json.loads(text(tree)), pb.StepResult()))


@pytest.mark.parametrize(("call", "expected"), REFERENCES)
def test_reference_is_reported_in_fields_of_its_kind(call: Reference | Script, expected: dict[str, object]) -> None:
    tree = result_tree(result(name="s", call=call))
    assert tree["step"] == {"name": "s", "step": expected}
    assert as_read(tree) == tree


@pytest.mark.parametrize(("call", "expected"), REFERENCES)
def test_reference_in_definition_is_reported_likewise(call: Reference | Script, expected: dict[str, object]) -> None:
    steps = Function(spec=Spec(), body=Sequence(steps=(Step(name="s", call=call, env={"A": "1"}),)))
    tree = result_tree(result(function=steps))
    read = as_read(tree)
    assert read == tree
    (step,) = read["specDefinition"]["definition"]["steps"]  # type: ignore[index]
    assert step["step"] == expected


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_are_kept_even_if_empty(value: Value) -> None:
    """An empty value is a value too: `inputs` with false differs from no `inputs`."""
    parameter = Parameter(type=ValueType.STRUCT, default=value)
    spec = Spec(inputs={"a": parameter}, outputs={"a": parameter})
    steps = Sequence(steps=(Step(name="s", call=Local(path="."), inputs={"a": value}),), outputs={"a": value})
    tree = result_tree(
        result(name="s", inputs={"a": value}, outputs={"a": value}, function=Function(spec=spec, body=steps))
    )
    assert as_read(tree) == tree
    assert json.loads(text(tree))["step"]["inputs"] == {"a": value}


@pytest.mark.parametrize("declared", list(ValueType))
def test_declared_types_are_written(declared: ValueType) -> None:
    spec = Spec(inputs={"a": Parameter(type=declared, sensitive=True)}, outputs="delegate")
    tree = result_tree(result(function=Function(spec=spec, body=Sequence(steps=(), delegate="s"))))
    assert as_read(tree) == tree
    assert tree["specDefinition"] == {
        "spec": {"spec": {"inputs": {"a": {"type": declared, "sensitive": True}}, "outputMethod": "delegate"}},
        "definition": {"type": "steps", "delegate": "s"},
    }


@pytest.mark.parametrize("status", list(Status)[1:])
def test_tree_of_results_nests(status: Status) -> None:
    done = ExecResult(command=("echo", "hi"), work_dir="/d", exit_code=3)
    child = result(name="c", status=status, exec_result=done, exports={"E": "1"}, env={"P": "x"}, step_env={"A": "b"})
    tree = result_tree(result(status=status, sub_results=(child, child)))
    assert as_read(tree) == tree
    assert tree["status"] == status.name.lower()
    assert [one["execResult"] for one in tree["subStepResults"]] == [  # type: ignore[attr-defined]
        {"command": ["echo", "hi"], "workDir": "/d", "exitCode": 3}
    ] * 2


@pytest.mark.parametrize(("code", "shown"), [(0, None), (7, 7), (-9, -1)], ids=["success", "failure", "signal"])
def test_exit_codes_are_written(code: int, shown: int | None) -> None:
    done = ExecResult(command=("x",), work_dir="/", exit_code=code)
    tree = result_tree(result(exec_result=done))
    assert tree["execResult"] == {"command": ["x"], "workDir": "/"} | ({} if shown is None else {"exitCode": shown})


def test_text_form_of_tree_parses_to_same_tree() -> None:
    tree = result_tree(result(name="s", call=Local(path="."), inputs={"a": [1, "ü"]}))
    assert 'name: "s"' in result_text(text(tree))
    assert 'string_value: "ü"' in result_text(text(tree))


def test_record_of_stopped_run_names_cause_and_signals() -> None:
    ended = Exit(
        cause=Cause.CANCELLED,
        returncode=-9,
        duration=1.5,
        forced=True,
        signals=(SignalSent("SIGTERM", 1.0, 1), SignalSent("SIGKILL", 1.25, 1)),
        census=(EndedProcess(7, ("sleep", "9"), "leader", "SIGKILL"), EndedProcess(8, (), "group", None)),
    )
    job = JobStatus(
        id="run",
        status=Status.CANCELLED,
        message="stopped",
        kind=ErrorKind.CANCELLED,
        start_time=0.0,
        end_time=1.5,
        termination=Termination(step="s", ended=ended),
    )
    assert run_record(LocalResult(job, None, 130)) == {
        "status": "cancelled",
        "exitStatus": 130,
        "errorKind": "cancelled",
        "message": "stopped",
        "startTime": "1970-01-01T00:00:00Z",
        "endTime": "1970-01-01T00:00:01.500000Z",
        "termination": {
            "step": "s",
            "cause": "cancelled",
            "exitStatus": -9,
            "forced": True,
            "duration": 1.5,
            "signals": [
                {"name": "SIGTERM", "after": 1.0, "processes": 1},
                {"name": "SIGKILL", "after": 1.25, "processes": 1},
            ],
            "census": [
                {"pid": 7, "program": "sleep", "argv": ["sleep", "9"], "found": "leader", "endedBy": "SIGKILL"},
                {"pid": 8, "program": "unknown", "argv": [], "found": "group", "endedBy": None},
            ],
        },
    }


def test_record_of_successful_run_has_no_error() -> None:
    job = JobStatus(id="run", status=Status.SUCCESS, start_time=1.0, end_time=2.0)
    record = run_record(LocalResult(job, result(), 0))
    assert (record["status"], record["exitStatus"]) == ("success", 0)
    assert record.keys() == {"status", "exitStatus", "startTime", "endTime", "result"}


# Files.


def test_report_is_replaced_as_a_whole_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("something longer than what comes")
    path.chmod(0o666)
    write(str(path), "new\n")
    assert path.read_text() == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["r.json"]


@pytest.mark.parametrize("target", ["real.json", "absent", "/dev/null"])
def test_report_replaces_link_and_does_not_follow_it(tmp_path: Path, target: str) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to(target)
    write(str(tmp_path / "link.json"), "new")
    assert not (tmp_path / "link.json").is_symlink()
    assert [(tmp_path / name).read_text() for name in ("link.json", "real.json")] == ["new", "old"]
    assert sorted(os.listdir(tmp_path)) == ["link.json", "real.json"]


def test_report_replaces_named_pipe(tmp_path: Path) -> None:
    """Any process may be its reader; without a reader its open would block."""
    os.mkfifo(tmp_path / "r.json")
    write(str(tmp_path / "r.json"), "new")
    assert (tmp_path / "r.json").read_text() == "new"


def test_report_is_never_at_guessable_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made under a random name, and only if no file has that name."""
    made: list[str] = []
    opened = os.open

    def watched(path: str, flags: int, mode: int = 0o777) -> int:
        assert flags & os.O_EXCL
        assert flags & os.O_NOFOLLOW
        made.append(os.path.basename(path))
        return opened(path, flags, mode)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", watched)
        for _ in range(2):
            write(str(tmp_path / "r.json"), "new")
    assert len({*made, "r.json"}) == 3


@pytest.mark.parametrize("path", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_report_goes_to_open_descriptor(tmp_path: Path, path: str) -> None:
    with open(tmp_path / "out", "wb") as file:
        file.write(b"before ")
        file.flush()
        write(path.format(file.fileno()), "new")
        file.write(b" after")
    assert (tmp_path / "out").read_text() == "before new after"


def test_report_goes_to_device(tmp_path: Path) -> None:
    before = os.stat("/dev/null").st_ino
    write("/dev/null", "new")
    assert os.stat("/dev/null").st_ino == before


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="only Linux has files there")
def test_report_in_shared_memory_is_private() -> None:
    path = f"/dev/shm/step-runner-test-{os.getpid()}"
    try:
        write(path, "new")
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    finally:
        os.unlink(path)


def test_unwritable_report_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "r.json").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        write(str(tmp_path / "r.json"), "new")
    assert os.listdir(tmp_path) == ["r.json"]


def test_invalid_unicode_is_replaced(tmp_path: Path) -> None:
    """An environment variable may hold any bytes."""
    write(str(tmp_path / "r.json"), text(result_tree(result(env={"A": "\udcff"}))))
    assert json.loads((tmp_path / "r.json").read_text())["env"] == {"A": "?"}
