"""Followers of a log get exactly the written bytes, from any offset, live and afterwards."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.support.steps import command, run_list, script

from step_runner.api.pb import step_pb2 as pb
from step_runner.api.service import log_reply
from step_runner.model import Status

if TYPE_CHECKING:
    from pathlib import Path

    from tests.api.conftest import Server

MIB = 1 << 20

CONTENTS = {
    "blank lines": b"\n\na\n\n",
    "CRLF": b"a\r\nb\r\n",
    "carriage returns": b"10 %\r20 %\r",
    "no final newline": b"a\nb",
    "NUL": b"a\0b\n\0",
    "invalid UTF-8": b"\xff\xfe\xc3\n\x80",
    "nothing": b"",
    "one line of 5 MB": b"x" * 5_000_000 + b"\n",
    "all bytes": bytes(range(256)) * 40,
}


def written(server: Server, content: bytes, work_dir: Path) -> str:
    """Start a job that writes `content`, and return its id."""
    (work_dir / "content").write_bytes(content)
    return server.start(command("cat", "content"), work_dir=str(work_dir))


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_bytes_arrive_unchanged(server: Server, work_dir: Path, content: bytes) -> None:
    assert server.log(written(server, content, work_dir)) == b"Running step name=\n" + content


def test_both_streams_arrive_in_order_of_writing(server: Server) -> None:
    """stdout and stderr of a step arrive in the order in which the step wrote to them."""
    _, log = server.run("for i in 1 2 3; do echo out $i; echo error $i >&2; done")
    assert log == b"out 1\nerror 1\nout 2\nerror 2\nout 3\nerror 3\n"


def test_log_announces_each_command_on_its_own_line(server: Server) -> None:
    job = server.start(script("printf one", "echo two"))
    assert server.log(job) == b"Running step name=s1\none\nRunning step name=s2\ntwo\n"


def test_log_does_not_announce_sequences(server: Server, work_dir: Path) -> None:
    (work_dir / "inner").mkdir()
    (work_dir / "inner/step.yml").write_text(run_list({"name": "b", "script": "true"}))
    job = server.start(run_list({"name": "a", "step": "./inner"}), work_dir=str(work_dir))
    assert server.log(job) == b"Running step name=b\n"


@pytest.mark.parametrize("offset", [0, 1, 19, 20, 25, 26])
def test_offset_counts_bytes_of_stream(server: Server, work_dir: Path, offset: int) -> None:
    job = written(server, b"1234\n\n7", work_dir)
    whole = b"Running step name=\n1234\n\n7"
    assert server.log(job) == whole
    assert server.log(job, offset) == whole[offset:]


@pytest.mark.parametrize("offset", [10_000, 2**31, 2**62, 2**63 - 1])
def test_offset_past_end_gives_nothing_and_ends(server: Server, work_dir: Path, offset: int) -> None:
    job = written(server, b"text", work_dir)
    server.ended(job)
    assert server.log(job, offset) == b""


def test_offset_past_end_of_live_log_waits_for_it(server: Server, work_dir: Path) -> None:
    os.mkfifo(work_dir / "gate")
    job = server.start_ready("echo ready; read line <gate; printf 0123456789", work_dir=str(work_dir))
    with ThreadPoolExecutor() as threads:
        following = threads.submit(server.log, job, len(b"Running step name=s1\nready\n") + 5)
        (work_dir / "gate").write_text("go on\n")
        assert following.result() == b"56789"


def test_negative_offset_is_refused(server: Server) -> None:
    job = server.start("true")
    with pytest.raises(grpc.RpcError) as caught:
        next(server.stub.FollowLogs(pb.FollowLogsRequest(id=job, offset=-1)))
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert caught.value.details() == f'following logs for job "{job}": the offset is -1, it cannot be negative'


def test_unknown_job_is_refused(server: Server) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        next(server.stub.FollowLogs(pb.FollowLogsRequest(id="unknown")))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNKNOWN, 'no job with id "unknown"')


def test_message_holds_at_most_one_mebibyte(server: Server, work_dir: Path) -> None:
    job = written(server, b"x" * (5 * MIB), work_dir)
    server.log(job)
    sizes = [len(reply.data) for reply in server.stub.FollowLogs(pb.FollowLogsRequest(id=job))]
    assert 0 < min(sizes) <= max(sizes) <= MIB
    assert sum(sizes) > 5 * MIB


@pytest.mark.parametrize("size", [1, 127, 128, 16_383, 16_384, MIB])
def test_reply_equals_message_of_its_bytes(size: int) -> None:
    """A reply equals the message that protobuf makes of the same bytes."""
    data = os.urandom(size)
    assert log_reply(data) == pb.FollowLogsResponse(data=data).SerializeToString()


def test_partial_lines_arrive_while_job_runs(server: Server) -> None:
    job = server.start("printf partial; sleep 1000 & wait")
    server.wait_for(job, b"partial")
    assert server.client.status(job).status is Status.RUNNING


def test_followers_all_get_whole_log(server: Server, work_dir: Path) -> None:
    """Some followers come before the first byte, some in the middle, one after the end."""
    os.mkfifo(work_dir / "gate")
    text = "echo ready; read line <gate; i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i + 1)); done"
    job = server.start(text, work_dir=str(work_dir))
    with ThreadPoolExecutor(8) as threads:
        early = [threads.submit(server.log, job) for _ in range(4)]
        server.wait_for(job, b"ready\n")
        middle = [threads.submit(server.log, job) for _ in range(4)]
        (work_dir / "gate").write_text("go on\n")
        logs = {following.result() for following in (*early, *middle)}
    assert logs == {server.log(job)}
    assert server.log(job).endswith(b"line 1999\n")


def test_job_continues_after_its_follower_has_gone(server: Server, work_dir: Path) -> None:
    os.mkfifo(work_dir / "gate")
    job = server.start("echo ready; read line <gate; echo went on", work_dir=str(work_dir))
    call = server.stub.FollowLogs(pb.FollowLogsRequest(id=job))
    next(call)
    call.cancel()
    with contextlib.suppress(grpc.RpcError):
        list(call)
    (work_dir / "gate").write_text("go on\n")
    assert server.log(job).endswith(b"went on\n")
    assert server.client.status(job).status is Status.SUCCESS


def test_follower_that_reads_nothing_delays_no_other_call(server: Server) -> None:
    job = server.start("head -c 20000000 /dev/zero")
    idle = server.stub.FollowLogs(pb.FollowLogsRequest(id=job))
    assert len(server.log(job)) > 20_000_000
    idle.cancel()


def test_server_keeps_nothing_of_departed_followers(server: Server) -> None:
    job = server.start_ready("echo ready; sleep 1000 & wait")
    before = server.descriptors()
    for _ in range(10):
        server.wait_for(job, b"ready\n")
    server.client.status(job)
    server.client.cancel(job)
    server.log(job)
    server.wait_for_descriptors(before)


def test_final_status_is_available_before_log_ends(server: Server) -> None:
    """Clients ask for the status right after the end of the log, and report it as final."""
    unfinished: list[str] = []

    def follow_jobs() -> None:
        for _ in range(50):
            job = server.start(command("true"))
            if not server.ended(job).finished:
                unfinished.append(job)
            server.client.close(job)

    threads = [threading.Thread(target=follow_jobs) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert unfinished == []


def test_background_process_does_not_keep_log_open(server: Server) -> None:
    job = server.start("sleep 1000 & true")
    assert server.ended(job).status is Status.SUCCESS
    assert server.jobs_processes() == []
