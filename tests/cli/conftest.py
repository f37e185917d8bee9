"""The commands as processes, with a server to talk to and a terminal to write to."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from step_runner.api.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COMMAND = (sys.executable, "-m", "step_runner")

READY = "ready\n"


class Server:
    """`step-runner serve` in a process of its own, whose jobs have two seconds to clean up, and a client of it."""

    def __init__(self, temporary: str) -> None:
        self.temporary = temporary
        self.path = os.path.join(temporary, "s.sock")
        self.process = subprocess.Popen(
            [*COMMAND, "serve", "--socket", self.path, "--graceful-exit-delay", "2s"],
            env={**os.environ, "TMPDIR": temporary, "XDG_CACHE_HOME": temporary, "XDG_RUNTIME_DIR": ""},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.first_line = self.process.stderr.readline()
        self.client = Client(self.path)

    def started(self, file: Path, job_id: str = "1", *arguments: str) -> str:
        """Start a job and wait until it has written `ready`; returns its id."""
        command = [*COMMAND, "start", str(file), "--id", job_id, *arguments, "--socket", self.path]
        subprocess.run(command, check=True, capture_output=True)
        self.wait_for(job_id, READY)
        return job_id

    def wait_for(self, job_id: str, text: str) -> None:
        """Wait until the job's log holds a text."""
        read = b""
        with contextlib.closing(self.client.follow(job_id)) as chunks:  # type: ignore[type-var]
            while text.encode() not in read:
                read += next(chunks)

    def close_jobs(self) -> None:
        """Close all jobs, and check that the server has kept nothing of them."""
        for job in self.client.jobs():
            self.client.close(job.id)
        assert [name for name in os.listdir(self.temporary) if name.startswith("step-runner-")] == []

    def close(self) -> None:
        self.client.__exit__(None, None, None)
        self.process.terminate()
        with self.process:
            self.process.wait()


class Terminal:
    """A command whose stdin, stdout and stderr are a terminal, and its output there."""

    def __init__(self, *arguments: str, **options: Any) -> None:
        self.text = ""
        self._descriptor, inside = pty.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], stdin=inside, stdout=inside, stderr=inside, start_new_session=True, **options
        )
        os.close(inside)

    def read_until(self, text: str) -> str:
        """Return the output so far, as soon as it holds a text."""
        while text not in self.text:
            assert self._read(), f"{text!r} is not in {self.text!r}"
        return self.text

    def finish(self) -> str:
        """Everything that was written until the command ended."""
        while self._read():
            pass
        self.process.wait()
        return self.text

    def _read(self) -> bool:
        try:
            chunk = os.read(self._descriptor, 4096)
        except OSError:  # the last process that had the terminal open has ended
            return False
        self.text += chunk.decode()
        return bool(chunk)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._descriptor)


@pytest.fixture
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command to its end."""

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"stdin": subprocess.DEVNULL, "text": True, **options}
        return subprocess.run([*COMMAND, *arguments], capture_output=True, check=False, **options)

    return run


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """Yield one server for all tests."""
    directory = tempfile.mkdtemp(prefix="s-")
    server = Server(directory)
    yield server
    server.close()
    shutil.rmtree(directory)


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """Yield a running server without jobs."""
    yield shared_server
    shared_server.close_jobs()


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Runs a command on a terminal."""
    with contextlib.ExitStack() as running:

        def run(*arguments: str, **options: Any) -> Terminal:
            terminal = Terminal(*arguments, **options)
            running.callback(terminal.close)
            return terminal

        yield run


@pytest.fixture
def step_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a step file that runs one script."""

    def write(script: str, name: str = "job.yml") -> Path:
        path = tmp_path / name
        lines = "".join(f"      {line}\n" for line in script.splitlines())
        path.write_text(f"{{}}\n---\nrun:\n  - name: work\n    script: |\n{lines}")
        return path

    return write
