"""Between the messages of the wire and the values of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gracefulexitcmd import Cause, EndedProcess, Exit, SignalSent
from gracefulexitcmd.exit import exit_code
from step_runner.api.pb import step_pb2 as pb
from step_runner.errors import InputError
from step_runner.model import ErrorKind, JobStatus, RunRequest, Status, Termination, Variable

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

LONGEST_MESSAGE = 16 * 1024
LONGEST_WORD = 512
MOST_WORDS = 32
"""Characters of a message and of an argument, and arguments: the states of all jobs must fit into 4 MiB."""


def run_request(message: pb.RunRequest) -> RunRequest:
    """The job that a message asks for. Raises InputError for a negative duration."""
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
    """The message that asks for a job."""
    message = pb.RunRequest(id=request.id, work_dir=request.work_dir, env=request.env, steps=request.steps)
    for variable in request.variables:
        message.job.variables.add(key=variable.key, value=variable.value, file=variable.file, masked=variable.masked)
    for name in ("graceful_exit_delay", "timeout"):
        if (seconds := getattr(request, name)) is not None:
            _set_seconds(getattr(message, name), seconds)
    return message


def status_message(job: JobStatus) -> pb.Status:
    """The message that tells of a job's state."""
    text = _shortened(job.message, LONGEST_MESSAGE)
    message = pb.Status(id=job.id, message=text, status=pb.StepResult.Status.Name(int(job.status)), step=job.step)
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
        _set_termination(message.termination, job.termination)
    return message


def job_status(message: pb.Status) -> JobStatus:
    """The state of a job that a message tells of."""
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


def _set_termination(message: pb.Termination, termination: Termination) -> None:
    ended = termination.ended
    message.cause = ended.cause
    message.step = termination.step
    message.forced = ended.forced
    if ended.status is not None:
        message.exit_status = exit_code(ended.status)
    for sent in ended.signals:
        _set_seconds(message.signals.add(name=sent.name, processes=sent.processes).after, sent.after)
    for process in ended.census:
        argv = [_shortened(word) for word in process.argv[:MOST_WORDS]]
        message.census.add(pid=process.pid, argv=argv, found=process.found, ended_by=process.ended_by or "")
    _set_seconds(message.duration, ended.duration)


def _termination(message: pb.Termination) -> Termination:
    return Termination(
        step=message.step,
        ended=Exit(
            cause=Cause(message.cause),
            status=message.exit_status if message.HasField("exit_status") else None,
            duration=_total_seconds(message.duration),
            forced=message.forced,
            signals=tuple(
                SignalSent(sent.name, _total_seconds(sent.after), sent.processes) for sent in message.signals
            ),
            census=tuple(
                EndedProcess(process.pid, tuple(process.argv), process.found, process.ended_by or None)
                for process in message.census
            ),
        ),
    )


def _shortened(text: str, longest: int = LONGEST_WORD) -> str:
    """The text as the wire can take it, the middle left out where it is long: the status stands at the end."""
    sendable = text.encode(errors="replace").decode()
    if len(sendable) <= longest:
        return sendable
    return f"{sendable[: longest // 2]} ... {sendable[-longest // 2 :]}"


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
