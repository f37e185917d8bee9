"""Note every SIGTERM, SIGINT and SIGHUP in the file PAYLOAD_LOG, clean up for PAYLOAD_SECONDS, and exit 0."""

import os
import signal
import time

times: list[float] = []


def note(text: str) -> None:
    """Append a line at once."""
    with open(os.environ["PAYLOAD_LOG"], "a") as file:
        file.write(f"{text}\n")


def received(number: int, _: object) -> None:
    """Note the signal."""
    times.append(time.monotonic())
    note(signal.Signals(number).name)


for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, received)
note(f"ready {os.getpid()}")
while not times or time.monotonic() < times[0] + float(os.environ.get("PAYLOAD_SECONDS", "1")):
    time.sleep(0.01)
note("cleaned up")
