"""Large, deep, unusual or malicious requests: the server answers each soon and clearly, and keeps running."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.support.steps import command, run_list, script, shell

from step_runner.api.pb import step_pb2 as pb
from step_runner.model import ErrorKind, Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.api.conftest import Server

MIB = 1 << 20

SOON = 2.0
"""CPU seconds of the server within which it refuses the worst text."""


@pytest.fixture(autouse=True)
def still_serving(server: Server) -> Iterator[None]:
    """Check after each of these requests that the server still runs a job."""
    yield
    assert server.run("echo alive")[1] == b"alive\n"


def refused(server: Server, steps: str, job_id: str = "x") -> tuple[grpc.StatusCode, str, float]:
    """Return the code and the text of a refusal, and the CPU seconds that it took."""
    before = server.worker.cpu_times()
    with pytest.raises(grpc.RpcError) as caught:
        server.stub.Run(pb.RunRequest(id=job_id, steps=steps, work_dir=str(server.temporary.parent / "work")))
    after = server.worker.cpu_times()
    seconds = after.user + after.system - before.user - before.system
    return caught.value.code(), str(caught.value.details()), seconds


def alias_bomb() -> str:
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 10)]
    return "{}\n---\nl0: &l0 [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(levels) + "\nrun: *l9\n"


@pytest.mark.parametrize(
    "steps",
    [
        alias_bomb(),
        "{}\n---\nrun: " + "[" * 10_000,
        "{}\n---\nrun: " + "[" * 10_000 + "]" * 10_000,
        "{}\n---\nrun: " + "{a: " * 10_000 + "1" + "}" * 10_000,
        "{}\n---\n" + "".join(f"{' ' * level}a:\n" for level in range(2_000)),
        "{}\n---\nrun: " + "- " * 10_000,
        "&a [*a]\n---\nrun: [{name: a, script: b}]",
        "{}\n---\n&a {run: *a}",
        "%YAML 99.0\n--- {}\n---\n{}",
        "\x00",
        "!!python/object/apply:os.system ['touch /tmp/x']\n---\n{}",
        run_list({"name": "a", "script": "b", "env": {f"K{n}": [] for n in range(20_000)}}),
    ],
    ids=["alias bomb", "open brackets", "brackets", "braces", "indentation", "dashes", "list in itself",
         "map in itself", "directive", "NUL", "tag", "20,000 problems"],
)  # fmt: skip
def test_unreadable_text_is_refused_soon(server: Server, steps: str) -> None:
    code, text, seconds = refused(server, steps)
    assert (code, text.startswith("loading step: steps:")) == (grpc.StatusCode.UNKNOWN, True)
    assert len(text) < 4_000
    assert seconds < SOON


def test_text_of_almost_four_mebibytes_is_answered(server: Server) -> None:
    """A large text is not an error: an invalid one is refused with the place of the mistake, a valid one runs."""
    comment = "#" * (3_900_000 - 1) + "\n"
    code, text, _ = refused(server, f"{comment}{{}}")
    assert (code, text.startswith("loading step: steps:2:1: ")) == (grpc.StatusCode.UNKNOWN, True)
    assert server.run(script("echo ran") + comment)[1] == b"ran\n"


def test_other_calls_are_answered_while_large_text_is_read(server: Server) -> None:
    items = [{"name": f"s{n}", "script": "true"} for n in range(15_000)]
    call = server.stub.Run.future(pb.RunRequest(id="large", steps=run_list(*items, {"name": "no call"})))
    answered = 0
    while not call.done():
        server.stub.Status(pb.StatusRequest())
        answered += 1
    assert call.exception() is not None
    assert answered > 1


def test_request_of_five_mebibytes_is_refused(server: Server) -> None:
    code, text, _ = refused(server, " " * (5 * MIB))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in text


@pytest.mark.parametrize("method", ["Run", "Status", "Cancel", "Close", "FollowLogs"])
def test_invalid_message_is_refused(server: Server, method: str) -> None:
    kind = "unary_stream" if method == "FollowLogs" else "unary_unary"
    call: Any = getattr(server.channel, kind)(f"/proto.StepRunner/{method}")
    with pytest.raises(grpc.RpcError):
        list(call(b"\xff\xff\xff")) if method == "FollowLogs" else call(b"\xff\xff\xff")


# Names that become paths

IDS = [
    "",
    ".",
    "..",
    "../x",
    "../../x",
    "a/b",
    "/tmp/x",
    "a%2Fb",
    "x" * 5_000,
    "ä ö\n\0",
    "~",
    "*",
    "-rf",
    "%",
    "ÿ" * 300,
]


@pytest.mark.parametrize("job_id", IDS, ids=[f"{job_id[:12]!r}" for job_id in IDS])
def test_id_reaches_only_directory_of_its_job(server: Server, work_dir: Path, job_id: str) -> None:
    outside = set(os.listdir(server.temporary.parent))
    server.start("echo x", job_id=job_id, work_dir=str(work_dir))

    assert server.log(job_id) == b"Running step name=s1\nx\n"
    assert {job.id: job.status for job in server.client.jobs()} == {job_id: Status.SUCCESS}
    (directory,) = server.temporary.iterdir()
    assert directory.name.startswith("step-runner-output-")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert set(os.listdir(server.temporary.parent)) == outside

    server.client.cancel(job_id)
    server.client.close(job_id)
    assert os.listdir(server.temporary) == []
    assert set(os.listdir(server.temporary.parent)) == outside


def test_similar_ids_keep_apart(server: Server, work_dir: Path) -> None:
    for number, job_id in enumerate(IDS):
        server.start(f"echo {number}", job_id=job_id, work_dir=str(work_dir))
    logs = [server.log(job_id) for job_id in IDS]
    assert logs == [f"Running step name=s1\n{number}\n".encode() for number in range(len(IDS))]
    assert len(os.listdir(server.temporary)) == len(IDS)


def test_foreign_directory_with_name_of_job_is_kept(server: Server) -> None:
    foreign = server.temporary / "step-runner-output-taken"
    foreign.mkdir()
    (foreign / "file").write_text("theirs")
    server.run("echo x", job_id="taken")
    server.client.close("taken")
    assert (foreign / "file").read_text() == "theirs"
    (foreign / "file").unlink()
    foreign.rmdir()


@pytest.mark.parametrize("job_id", ["i" * 100_000, "ü" * 50_000], ids=["ASCII", "not ASCII"])
def test_refusal_fits_into_its_headers(server: Server, job_id: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.stub.Status(pb.StatusRequest(id=job_id))
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert str(caught.value.details()).startswith('no job with id "')


# Large programs, messages, values


def test_script_of_twenty_thousand_lines_runs(server: Server) -> None:
    assert server.run("".join(f"n={number}\n" for number in range(20_000)) + "echo $n")[1] == b"19999\n"


@pytest.mark.parametrize("size", [128 * 1024 - 2, 128 * 1024 - 1, 128 * 1024, MIB])
def test_script_of_any_size_runs(server: Server, size: int) -> None:
    text = "echo ran #"
    assert server.run(text + "x" * (size - len(text)))[1] == b"ran\n"


def test_script_size_is_measured_in_bytes(server: Server) -> None:
    assert server.run("echo ran #" + "€" * 60_000)[1] == b"ran\n"


def test_word_too_long_for_system_is_reported(server: Server) -> None:
    ended, _ = server.run(command("echo", "x" * 200_000))
    assert ended.message == (
        'exec: exec: "echo": argument list too long: one argument can hold 128 KiB,'
        " all of them and the environment 2 MiB"
    )


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (r"printf '\n\n\377'", "line 3: byte 1 is 0xff, which is not valid UTF-8: write UTF-8"),
        (r"""printf '{"name": "K", "value": "%s"}' '\ud800'""", r'line 1: "\ud800" is half of a surrogate pair: write'),
        (r"""printf '{"name": "A=B", "value": "x"}'""", 'line 1: "A=B" is not a valid name of an environment variable'),
        (r"""printf '{"name": "K", "value": "%s"}' '\u0000'""", 'line 1: the value of "K" holds a NUL character'),
        (r"""printf '{"name": "K", "value": "%0131072d"}' 1""", 'line 1: "K" has 131074 bytes, and one variable can'),
        ("head --bytes 17M /dev/zero", "larger than 16 MiB"),
    ],
    ids=["bytes", "surrogate", "name", "NUL", "size", "file"],
)
def test_bad_export_fails_its_step(server: Server, write: str, sentence: str) -> None:
    """The job fails because of the step that wrote the export, never because of an internal error of the server."""
    steps = run_list({"name": "x", "script": f"{write} > ${{{{ export_file }}}}"}, {"name": "y", "script": "true"})
    ended, _ = server.run(steps)
    assert (ended.status, ended.kind) == (Status.FAILURE, ErrorKind.STEP_FAILURE)
    assert ended.message.startswith('step "x": export file of step "x"')
    assert sentence in ended.message


def test_message_about_huge_word_can_be_sent(server: Server) -> None:
    """Its end remains, because clients look for the exit status there."""
    ended, _ = server.run(command("x" * 1_000_000))
    assert ended.kind is ErrorKind.STEP_FAILURE
    assert ended.message.startswith('exec: exec: "xxx')
    assert ended.message.endswith('xxx": executable file not found in $PATH')
    assert len(ended.message) < 100_000


def test_status_of_many_cancelled_scripts_can_be_sent(server: Server) -> None:
    """The record of each ended process holds its arguments."""
    steps = command("sh", "-c", "echo ready; exec sleep 1000", *["${{ vars.LARGE }}"] * 10)
    large = "x" * 100_000
    jobs = [server.start_ready(steps, variables={"LARGE": large}) for _ in range(5)]
    for job in jobs:
        server.client.cancel(job)
        server.ended(job)
    assert len(server.client.jobs()) == 5


@pytest.mark.parametrize(
    "text",
    [
        "rm ${{ output_file }}; mkfifo ${{ output_file }}",
        "ln -sf /dev/zero ${{ output_file }}",
        "rm ${{ output_file }}; mkdir ${{ output_file }}",
        "rm ${{ output_file }}",
        "rm ${{ export_file }}; mkfifo ${{ export_file }}",
        "head -c 100000 /dev/zero | tr '\\0' '[' >${{ output_file }}",
        "printf '\\377\\n' >${{ output_file }}",
    ],
    ids=["pipe", "device", "directory", "nothing", "export file", "deep", "invalid UTF-8"],
)
def test_replaced_output_file_fails_step(server: Server, text: str) -> None:
    """The step fails at once, and other jobs do not wait."""
    for steps in (script(text), shell(text, spec={"outputs": "delegate"})):
        ended, _ = server.run(steps)
        assert (ended.status, ended.kind) == (Status.FAILURE, ErrorKind.STEP_FAILURE)
        # An empty delegated output file is another mistake, which is found first.
        assert "output file" in ended.message or "export file" in ended.message


def test_function_calling_itself_is_refused(server: Server, work_dir: Path) -> None:
    (work_dir / "step.yml").write_text(run_list({"name": "again", "step": "./"}))
    ended, _ = server.run(run_list({"name": "first", "step": "./"}), work_dir=str(work_dir))
    assert ended.kind is ErrorKind.STEP_FAILURE
    assert ended.message.endswith(
        "functions call each other more than 100 deep (first > again > again > again > ... > again):"
        " does one call itself?"
    )
