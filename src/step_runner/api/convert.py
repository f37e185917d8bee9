"""Converts between gRPC messages and the values of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gracefulexitcmd import Cause, EndedProcess, Exit, Reason, SignalSent, Why
from gracefulexitcmd.program import exit_code
from step_runner.api.pb import step_pb2 as pb
from step_runner.errors import InputError
from step_runner.model import ErrorKind, JobStatus, RunRequest, Status, Termination, Variable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

LARGEST_REPLY = 4 * 1024 * 1024 - 64 * 1024
"""Bytes of all states in one reply: a gRPC client refuses a message above 4 MiB."""


class Detail(NamedTuple):
    """The detail of a state: bytes of a message and of a word, words of a command, number of ended processes."""

    message: int
    word: int
    words: int
    processes: int | None


FULL = Detail(message=16 * 1024, word=512, words=32, processes=None)

DETAILS = (
    FULL,
    Detail(message=1024, word=64, words=2, processes=8),
    Detail(message=256, word=64, words=0, processes=0),
)
"""From the most detail to the least: 1,000 jobs fit with the second, more than 5,000 with the last."""


def run_request(message: pb.RunRequest) -> RunRequest:
    """Return the job that a message asks for. Raise InputError for a negative duration."""
    return RunRequest(
        id=message.id,
        steps=message.steps,
        work_dir=message.job.build_dir or message.work_dir,
        env=dict(message.env),
        variables=tuple(
            Variable(key=variable.key, value=variable.value, file=variable.file, masked=variable.masked)
            for variable in message.job.variables
        ),
        graceful_exit_delay=_delay(message, "graceful_exit_delay"),
        timeout=_delay(message, "timeout"),
    )


def run_message(request: RunRequest) -> pb.RunRequest:
    """Return the message that asks for a job."""
    message = pb.RunRequest(
        id=request.id,
        work_dir=request.work_dir,
        env=request.env,
        steps=request.steps,
        graceful_exit_delay=_moment(request.graceful_exit_delay),
        timeout=_moment(request.timeout),
    )
    for variable in request.variables:
        message.job.variables.add(key=variable.key, value=variable.value, file=variable.file, masked=variable.masked)
    return message


def status_response(jobs: Sequence[JobStatus]) -> pb.StatusResponse:
    """Return the message with the states of jobs, in as much detail as fits into LARGEST_REPLY."""
    for detail in DETAILS[:-1]:
        if (response := _response(jobs, detail)) is not None:
            return response
    return pb.StatusResponse(jobs=[status_message(job, DETAILS[-1]) for job in jobs])


def _response(jobs: Sequence[JobStatus], detail: Detail) -> pb.StatusResponse | None:
    """Return the states in this detail, or None if they are too large together."""
    messages = []
    left = LARGEST_REPLY
    for job in jobs:
        messages.append(status_message(job, detail))
        left -= messages[-1].ByteSize() + 6  # its tag and length
        if left < 0:
            return None
    return pb.StatusResponse(jobs=messages)


def status_message(job: JobStatus, detail: Detail = FULL) -> pb.Status:
    """Return the message with the state of a job."""
    text = shortened(job.message, detail.message)
    kind, ended = job.kind, job.termination
    return pb.Status(
        id=job.id,
        message=text,
        status=pb.StepResult.Status.Name(int(job.status)),
        step=shortened(job.step, detail.word),
        start_time=_moment(job.start_time),
        end_time=_moment(job.end_time),
        kill_time=_moment(job.kill_time),
        error=None if kind is None else pb.StatusError(kind=pb.StatusError.Kind.Name(int(kind)), message=text),
        termination=None if ended is None else _termination_message(ended, detail),
    )


def job_status(message: pb.Status) -> JobStatus:
    """Return the state of the job in a message."""
    return JobStatus(
        id=message.id,
        status=Status(message.status),
        message=message.message,
        kind=ErrorKind(message.error.kind) if message.HasField("error") else None,
        start_time=_seconds(message, "start_time"),
        end_time=_seconds(message, "end_time"),
        termination=_termination(message.termination) if message.HasField("termination") else None,
        step=message.step,
        kill_time=_seconds(message, "kill_time"),
    )


def _termination_message(termination: Termination, detail: Detail) -> pb.Termination:
    ended = termination.ended
    return pb.Termination(
        cause=ended.cause,
        step=shortened(termination.step, detail.word),
        exit_status=None if ended.returncode is None else exit_code(ended.returncode),
        forced=ended.forced,
        signals=[
            pb.SignalSent(name=sent.name, after=_moment(sent.after), processes=sent.processes) for sent in ended.signals
        ],
        census=[_process_message(process, detail) for process in ended.census[: detail.processes]],
        duration=_moment(ended.duration),
        hurried=ended.hurried or "",
    )


def _process_message(process: EndedProcess, detail: Detail) -> pb.EndedProcess:
    reason, about = process.why or ("", "")
    return pb.EndedProcess(
        pid=process.pid,
        argv=[shortened(word, detail.word) for word in process.argv[: detail.words]],
        found=process.found,
        ended_by=process.ended_by or "",
        name=shortened(process.name, detail.word),
        reason=reason,
        detail=about,
    )


def _termination(message: pb.Termination) -> Termination:
    ended = Exit(
        cause=Cause(message.cause),
        returncode=message.exit_status if message.HasField("exit_status") else None,
        duration=_total_seconds(message.duration),
        forced=message.forced,
        hurried=message.hurried or None,
        signals=tuple(SignalSent(sent.name, _total_seconds(sent.after), sent.processes) for sent in message.signals),
        census=tuple(map(_process, message.census)),
    )
    return Termination(step=message.step, ended=ended)


def _process(message: pb.EndedProcess) -> EndedProcess:
    argv, ended_by = tuple(message.argv), message.ended_by or None
    return EndedProcess(message.pid, argv, message.found, ended_by, message.name, _why(message))


def _why(process: pb.EndedProcess) -> Why | None:
    """Return why the process had not ended. Return None also for an unknown reason of a newer server."""
    known = process.reason in list(Reason)
    return Why(Reason(process.reason), process.detail) if known else None


def shortened(text: str, longest: int) -> str:
    """Return valid UTF-8 of at most `longest` bytes. Leave out the middle, because the end holds an exit status."""
    sendable = text.encode(errors="replace")
    if len(sendable) <= longest:
        return sendable.decode()
    first, last = sendable[: longest // 2], sendable[-longest // 2 :]
    return f"{first.decode(errors='ignore')} ... {last.decode(errors='ignore')}"


def _delay(message: pb.RunRequest, name: str) -> float | None:
    seconds = _seconds(message, name)
    if seconds is not None and seconds < 0:
        raise InputError(f"{name} is {seconds:g} s: it cannot be negative")
    return seconds


def _seconds(message: Message, name: str) -> float | None:
    """Return a field that is a duration or a time since the epoch, None if it is absent."""
    return _total_seconds(getattr(message, name)) if message.HasField(name) else None


def _total_seconds(moment: Duration | Timestamp) -> float:
    return moment.seconds + moment.nanos / 1e9


def _moment(seconds: float | None) -> dict[str, int] | None:
    """Return the fields of a Duration or Timestamp."""
    if seconds is None:
        return None
    whole, nanos = divmod(round(seconds * 1e9), 10**9)
    return {"seconds": whole, "nanos": nanos}
