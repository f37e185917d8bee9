"""Follows a job, writes True after the first bytes of each stream, and waits: `follower.py SOCKET JOB NUMBER`."""

import sys

from step_runner.api.client import Client

with Client(sys.argv[1]) as client:
    streams = [client.follow(sys.argv[2]) for _ in range(int(sys.argv[3]))]
    print(all([next(stream) for stream in streams]), flush=True)
    sys.stdin.read()
