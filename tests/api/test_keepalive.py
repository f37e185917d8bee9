"""A client that pings while a step is silent, as GitLab Runner does every 10 s."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from step_runner.api.pb import step_pb2 as pb
from step_runner.api.pb.step_pb2_grpc import StepRunnerStub

if TYPE_CHECKING:
    from tests.api.conftest import Server

PINGS = (
    ("grpc.keepalive_time_ms", 1000),  # the least that gRPC takes
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)

SILENCE = 4
"""Seconds: with gRPC's default options the server closes the connection at the third ping, after 3.1 s."""


def test_pings_keep_stream_of_silent_job_alive(server: Server) -> None:
    job_id = server.start(f"sleep {SILENCE}; echo done")
    with grpc.insecure_channel(f"unix:{server.path}", PINGS) as channel:
        replies = StepRunnerStub(channel).FollowLogs(pb.FollowLogsRequest(id=job_id))
        assert b"".join(reply.data for reply in replies).endswith(b"done\n")
