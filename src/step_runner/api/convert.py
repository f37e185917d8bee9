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
        graceful_exit_delay=_seconds(message, "graceful_exit_delay"),
        timeout=_seconds(message, "timeout"),
    )


def run_message(request: RunRequest) -> pb.RunRequest:
    """Return the message that asks for a job."""
    message = pb.RunRequest(id=request.id, work_dir=request.work_dir, env=request.env, steps=request.steps)
    for variable in request.variables:
        message.job.variables.add(key=variable.key, value=variable.value, file=variable.file, masked=variable.masked)
    for name in ("graceful_exit_delay", "timeout"):
        if (seconds := getattr(request, name)) is not None:
            _set_seconds(getattr(message, name), seconds)
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
    text = _shortened(job.message, detail.message)
    step = _shortened(job.step, detail.word)
    message = pb.Status(id=job.id, message=text, status=pb.StepResult.Status.Name(int(job.status)), step=step)
    if job.start_time is not None:
        _set_time(message.start_time, job.start_time)
    if job.end_time is not None:
        _set_time(message.end_time, job.end_time)
    if job.kind is not None:
        error = pb.StatusError(kind=pb.StatusError.Kind.Name(int(job.kind)), message=text)
        message.error.CopyFrom(error)
    if job.kill_time is not None:
        _set_time(message.kill_time, job.kill_time)
    if job.termination is not None:
        _set_termination(message.termination, job.termination, detail)
    return message


def job_status(message: pb.Status) -> JobStatus:
    """Return the state of the job in a message."""
    return JobStatus(
        id=message.id,
        status=Status(message.status),
        message=message.message,
        kind=ErrorKind(message.error.kind) if message.HasField("error") else None,
        start_time=_time(message, "start_time"),
        end_time=_time(message, "end_time"),
        termination=_termination(message.termination) if message.HasField("termination") else None,
        step=message.step,
        kill_time=_time(message, "kill_time"),
    )


def _set_termination(message: pb.Termination, termination: Termination, detail: Detail) -> None:
    ended = termination.ended
    message.cause = ended.cause
    message.step = _shortened(termination.step, detail.word)
    message.forced = ended.forced
    message.hurried = ended.hurried or ""
    if ended.returncode is not None:
        message.exit_status = exit_code(ended.returncode)
    for sent in ended.signals:
        _set_seconds(message.signals.add(name=sent.name, processes=sent.processes).after, sent.after)
    for process in ended.census[: detail.processes]:
        argv = [_shortened(word, detail.word) for word in process.argv[: detail.words]]
        named = message.census.add(pid=process.pid, argv=argv, found=process.found, ended_by=process.ended_by or "")
        named.name = _shortened(process.name, detail.word)
        if process.why is not None:
            named.reason, named.detail = process.why
    _set_seconds(message.duration, ended.duration)


def _termination(message: pb.Termination) -> Termination:
    return Termination(
        step=message.step,
        ended=Exit(
            cause=Cause(message.cause),
            returncode=message.exit_status if message.HasField("exit_status") else None,
            duration=_total_seconds(message.duration),
            forced=message.forced,
            hurried=message.hurried or None,
            signals=tuple(
                SignalSent(sent.name, _total_seconds(sent.after), sent.processes) for sent in message.signals
            ),
            census=tuple(
                EndedProcess(
                    process.pid,
                    tuple(process.argv),
                    process.found,
                    process.ended_by or None,
                    process.name,
                    _why(process),
                )
                for process in message.census
            ),
        ),
    )


def _why(process: pb.EndedProcess) -> Why | None:
    """Return why the process had not ended. Return None also for an unknown reason of a newer server."""
    known = process.reason in list(Reason)
    return Why(Reason(process.reason), process.detail) if known else None


def _shortened(text: str, longest: int) -> str:
    """Return valid UTF-8 of at most `longest` bytes. Leave out the middle, because the end holds an exit status."""
    sendable = text.encode(errors="replace")
    if len(sendable) <= longest:
        return sendable.decode()
    first, last = sendable[: longest // 2], sendable[-longest // 2 :]
    return f"{first.decode(errors='ignore')} ... {last.decode(errors='ignore')}"


def _seconds(message: pb.RunRequest, name: str) -> float | None:
    if not message.HasField(name):
        return None
    seconds = _total_seconds(getattr(message, name))
    if seconds < 0:
        raise InputError(f"{name} is {seconds:g} s: it cannot be negative")
    return seconds


def _total_seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def _set_seconds(duration: Duration, seconds: float) -> None:
    duration.FromNanoseconds(round(seconds * 1e9))


def _time(message: pb.Status, name: str) -> float | None:
    if not message.HasField(name):
        return None
    time: Timestamp = getattr(message, name)
    return time.seconds + time.nanos / 1e9


def _set_time(timestamp: Timestamp, seconds: float) -> None:
    timestamp.FromNanoseconds(round(seconds * 1e9))
