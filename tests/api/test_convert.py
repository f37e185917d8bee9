"""Values stay the same when they become a message and values again."""

from __future__ import annotations

import pytest

from gracefulexitcmd import Cause, EndedProcess, Exit, Reason, SignalSent, Why
from step_runner.api import convert
from step_runner.api.pb import step_pb2 as pb
from step_runner.errors import InputError
from step_runner.model import ErrorKind, JobStatus, RunRequest, Status, Termination, Variable

ENDED = Exit(
    cause=Cause.CANCELLED,
    returncode=-9,
    duration=2.5,
    forced=True,
    signals=(SignalSent("SIGTERM", 0.25, 2), SignalSent("SIGKILL", 2.25, 1)),
    census=(
        EndedProcess(12, ("sh", "-c", "x"), "leader", "SIGTERM"),
        EndedProcess(13, ("sshd: x y",), "group", None, "sshd", Why(Reason.IN_KERNEL, "nfs_wait")),
    ),
    hurried="second Ctrl-C",
)

STATES = {
    "registered": JobStatus(id="1"),
    "running": JobStatus(id="1", status=Status.RUNNING, start_time=1_700_000_000.5),
    "succeeded": JobStatus(id="1", status=Status.SUCCESS, start_time=1.5, end_time=2.25),
    "failed": JobStatus(id="1", status=Status.FAILURE, message="exit status 1", kind=ErrorKind.STEP_FAILURE),
    "of an unknown kind": JobStatus(id="1", status=Status.FAILURE, message="x", kind=ErrorKind.UNKNOWN),
    "stopped": JobStatus(
        id="1", status=Status.CANCELLED, kind=ErrorKind.TIMEOUT, termination=Termination(step="s", ended=ENDED)
    ),
}


@pytest.mark.parametrize("status", STATES.values(), ids=STATES.keys())
def test_status_converts_to_wire(status: JobStatus) -> None:
    message = pb.Status.FromString(convert.status_message(status).SerializeToString())
    assert convert.job_status(message) == status


def test_exit_status_of_zero_is_not_none() -> None:
    ended = Exit(cause=Cause.CANCELLED, returncode=0, duration=0)
    status = JobStatus(id="1", termination=Termination(step="s", ended=ended))
    assert convert.job_status(convert.status_message(status)) == status


def test_text_with_invalid_unicode_is_sent_with_replacements() -> None:
    status = JobStatus(
        id="1", message="file \udcff", termination=Termination(step="s", ended=Exit(Cause.EXITED, 0, 0.0))
    )
    assert convert.status_message(status).message == "file ?"


CROWD = Exit(
    cause=Cause.CANCELLED,
    returncode=-9,
    duration=1.0,
    signals=(SignalSent("SIGTERM", 0.25, 2), SignalSent("SIGKILL", 2.25, 1)),
    census=(EndedProcess(12, ("/usr/bin/program", "ü" * 1000) * 5, "ancestry", "SIGKILL"),) * 100,
)


@pytest.mark.parametrize(("number", "census"), [(1, 100), (1000, 8), (5000, 0)])
def test_status_of_many_jobs_fits_into_4_mib(number: int, census: int) -> None:
    """With more jobs each has less detail; the end of a message, which holds the exit status, always remains."""
    text = f"{'ü' * 20_000} exit status 7"
    job = JobStatus(
        id="123456789",
        status=Status.CANCELLED,
        message=text,
        kind=ErrorKind.STEP_FAILURE,
        start_time=1_700_000_000.5,
        end_time=1_700_000_001.5,
        termination=Termination(step="s" * 1000, ended=CROWD),
    )
    response = convert.status_response([job] * number)
    assert response.ByteSize() < 4 * 1024 * 1024
    assert len(response.jobs) == number
    for told in (response.jobs[0].message, response.jobs[0].error.message):
        assert told.startswith("üü")
        assert told.endswith("ü exit status 7")
    assert len(response.jobs[0].termination.census) == census


REQUESTS = {
    "bare": RunRequest(id="", steps=""),
    "full": RunRequest(
        id="ü",
        steps="text",
        work_dir="/w",
        env={"A": "b"},
        variables=(Variable(key="K", value="v", file=True), Variable(key="L", value="", masked=True)),
        graceful_exit_delay=0.25,
        timeout=3600.5,
    ),
    "without delay": RunRequest(id="1", steps="", graceful_exit_delay=0.0, timeout=0.0),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
def test_request_converts_from_wire(request_: RunRequest) -> None:
    message = pb.RunRequest.FromString(convert.run_message(request_).SerializeToString())
    assert convert.run_request(message) == request_


def test_build_dir_overrides_work_dir() -> None:
    assert convert.run_request(pb.RunRequest(work_dir="w", job=pb.Job(build_dir="b"))).work_dir == "b"


@pytest.mark.parametrize("field", ["timeout", "graceful_exit_delay"])
def test_negative_time_is_refused(field: str) -> None:
    message = pb.RunRequest()
    getattr(message, field).FromMilliseconds(-1500)
    with pytest.raises(InputError, match=f"^{field} is -1.5 s: it cannot be negative$"):
        convert.run_request(message)
