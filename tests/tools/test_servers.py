"""Servers and workers that are stopped in the middle of a request or task."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
import urllib.request
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from tests.tools.stopping import Seen, stopped
from tests.tools.toolbox import pypi

if TYPE_CHECKING:
    from pathlib import Path

SERVERS = ("uvicorn==0.54.0", "gunicorn==27.0.1", "hypercorn==0.18.0")
CELERY = "celery==5.7.0"
NOTE = """import os, time

def note(text):
    with open(os.environ["PAYLOAD_LOG"], "a") as file:
        file.write(text + "\\n")

"""
ASGI = (
    NOTE
    + """import asyncio

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    note(f"ready {os.getpid()}")
    await asyncio.sleep(1.5)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answer"})
    note("cleaned up")
"""
)
WSGI = (
    NOTE
    + """
def app(environ, start_response):
    note(f"ready {os.getpid()}")
    time.sleep(1.5)
    start_response("200 OK", [])
    note("cleaned up")
    return [b"answer"]
"""
)
TASKS = (
    NOTE
    + """import celery

app = celery.Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}

@app.task
def work():
    note(f"ready {os.getpid()}")
    time.sleep(2)
    note("cleaned up")
"""
)


HOOKS = """import java.nio.file.*;

public class Hooks {
    static void note(String text) throws Exception {
        Files.writeString(Path.of(System.getenv("PAYLOAD_LOG")), text + "\\n",
            StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }

    public static void main(String[] arguments) throws Exception {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                Thread.sleep(500);
                note("cleaned up");
            } catch (Exception error) {
                throw new RuntimeException(error);
            }
        }));
        note("ready " + ProcessHandle.current().pid());
        Thread.sleep(30000);
    }
}
"""


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def served(log: Path, how: str, program: str, *arguments: str, app: str = ASGI) -> tuple[Seen, str]:
    """Stop a server while it answers a request; return the observation, and the answer, empty if it was cut off."""
    (log.parent / "web.py").write_text(app)
    port, answers = free_port(), [""]

    def ask() -> None:
        deadline = time.monotonic() + 60
        while not log.exists() and time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=30) as reply:
                answers[0] = reply.read().decode()
                return
            time.sleep(0.1)

    client = Thread(target=ask)
    client.start()
    listen = [part.replace("PORT", str(port)) for part in arguments]
    seen = stopped((pypi(*SERVERS) / program, *listen, "web:app"), how, log, cwd=log.parent, PYTHONPATH=str(log.parent))
    client.join()
    return seen, answers[0]


@pytest.mark.parametrize("how", ["leader", "product"])
def test_uvicorn_answers_and_dies_of_signal(how: str, log: Path) -> None:
    """The request in flight is answered; the exit status of this clean stop is -15."""
    seen, answer = served(log, how, "uvicorn", "--port=PORT")
    assert (answer, seen.status) == ("answer", -15)


@pytest.mark.parametrize("how", ["leader", "product"])
def test_gunicorn_answers_and_exits_0(how: str, log: Path) -> None:
    """The request in flight is answered; the exit status of this clean stop is 0."""
    seen, answer = served(log, how, "gunicorn", "--bind=127.0.0.1:PORT", app=WSGI)
    assert (answer, seen.status) == ("answer", 0)


def test_hypercorn_cuts_request_when_all_get_signal(log: Path) -> None:
    """Its worker ends at once at the signal that is meant for all."""
    _, answer = served(log, "product", "hypercorn", "--bind=127.0.0.1:PORT")
    assert answer == ""


def test_hypercorn_answers_with_first_leader(log: Path) -> None:
    """With `first: leader` the request in flight is answered."""
    _, answer = served(log, "first leader", "hypercorn", "--bind=127.0.0.1:PORT")
    assert answer == "answer"


def worked(log: Path, how: str) -> Seen:
    """Stop a celery worker in the middle of a task."""
    (log.parent / "tasks.py").write_text(TASKS)
    for name in ("queue", "control"):
        (log.parent / name).mkdir()
    programs = pypi(CELERY)
    subprocess.run(
        [programs / "python", "-c", "import tasks; tasks.work.delay()"], cwd=log.parent, check=True, timeout=60
    )
    worker = (programs / "celery", "-A", "tasks", "worker", "--concurrency=1", "--without-mingle", "--loglevel=error")
    return stopped(worker, how, log, cwd=log.parent, C_FORCE_ROOT="1")


def test_celery_loses_task_when_all_get_signal(log: Path) -> None:
    """The child that works has SIGTERM at its default and dies in the middle of the task."""
    assert not worked(log, "product").cleaned


def test_celery_finishes_task_with_first_leader(log: Path) -> None:
    """With `first: leader` the task is finished, and the worker exits 0."""
    seen = worked(log, "first leader")
    assert (seen.status, seen.cleaned) == (0, True)


@pytest.mark.parametrize("how", ["leader", "product"])
def test_jvm_runs_its_hooks(how: str, log: Path) -> None:
    """The shutdown hooks run to their end; the exit status of this clean stop is 143."""
    if shutil.which("java") is None:
        pytest.skip("no Java is installed")
    (log.parent / "Hooks.java").write_text(HOOKS)
    seen = stopped(("java", "Hooks.java"), how, log, cwd=log.parent)
    assert (seen.status, seen.cleaned, seen.lives) == (143, True, False)
