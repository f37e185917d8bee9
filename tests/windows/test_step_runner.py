"""The step runner and `python -m gracefulexitcmd` on Windows, tested as programs.

If a test presses keys, or a step gets CTRL_BREAK, Wine needs stand-ins for the console: only a run on Windows proves
that part.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows, or Wine: make test-windows", allow_module_level=True)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(180)

HERE = Path(__file__).parent
LAUNCH = str(HERE / "wine" / "launch.py")
ACTOR = str(HERE / "programs" / "actor.py")

CANCELLED_BY_BREAK = 128 + 21
"""128 plus SIGBREAK."""


class Ended(NamedTuple):
    """The exit status and the output of a program."""

    status: int
    stdout: str
    stderr: str


def _run(module: str, *arguments: str, **env: str) -> Ended:
    done = subprocess.run(
        [sys.executable, LAUNCH, module, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, **env},
        timeout=120,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def _start(module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, LAUNCH, module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        # Its own group, as by a shell of Windows, so that Ctrl-Break reaches it and not this program.
        creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
    )


def _read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"ended without {text!r}: {seen}")


def _step_file(path: Path, *words: str) -> Path:
    """Write a step file that runs Python with these arguments; return its path."""
    command = json.dumps([sys.executable, *words])
    path.write_text(f"spec: {{}}\n---\nexec:\n  command: {command}\n", encoding="utf-8")
    return path


def _rest(process: subprocess.Popen[str]) -> str:
    """Return the output of a program until its end."""
    return process.communicate(timeout=60)[0]


def test_function_runs_end_to_end(tmp_path: Path) -> None:
    """Proves Windows: drives and backslashes in references, outputs by file, inputs, exit status, steps in a row."""
    program = tmp_path / "hello.py"
    program.write_text(
        "import json, sys\n"
        "print('hello', sys.argv[1])\n"
        "assert '\\\\' not in ''.join(sys.argv[2:]), 'bash would take it for a quote'\n"
        "open(sys.argv[2], 'a').write(json.dumps({'name': 'said', 'value': sys.argv[1]}) + '\\n')\n"
    )
    words = ("${{inputs.name}}", "${{output_file}}", "${{work_dir}}")
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "func.yml").write_text(
        "spec:\n  inputs:\n    name: {type: string}\n  outputs:\n    said: {type: string}\n---\nexec:\n"
        f"  command: {json.dumps([sys.executable, str(program), *words])}\n"
    )
    end = _step_file(tmp_path / "end.yml", "-c", "import sys; sys.exit(7)")
    (tmp_path / "all.yml").write_text(
        "spec: {}\n---\nrun:\n"
        "  - {name: one, func: '.\\hello', inputs: {name: Ada}}\n"
        f"  - {{name: two, func: '{tmp_path}\\hello', inputs: {{name: '${{{{steps.one.outputs.said}}}} again'}}}}\n"
        f"  - {{name: three, func: '{end.as_posix()}'}}\n"
    )
    ended = _run("step_runner", "run", str(tmp_path / "all.yml"))
    assert ended.stdout.splitlines() == ["hello Ada", "hello Ada again"], ended.stderr
    assert ended.status == 7
    assert "three" in ended.stderr


def test_ctrl_break_stops_step_gracefully(tmp_path: Path, press: Callable[..., None]) -> None:
    """Stand-in: the runner gets the break, sends it to the step, and waits for the step's cleanup."""
    mark = tmp_path / "mark"
    step = _step_file(tmp_path / "step.yml", ACTOR, "heed", str(mark), "with", "heed", str(mark))
    runner = _start("step_runner", "run", str(step))
    _read_until(runner, "ready")
    press(runner.pid)
    output = _rest(runner)
    assert runner.returncode == CANCELLED_BY_BREAK, output
    assert mark.read_text().count("cleaned") == 2
    assert "Stopping" in output
    assert "CTRL_BREAK to 2 processes, 30 s to finish" in output


def test_second_ctrl_c_kills_step_at_once(tmp_path: Path, press: Callable[..., None]) -> None:
    """Stand-in for the keys; the kill proves Windows. A second key counts from one second after the first one."""
    step = _step_file(tmp_path / "step.yml", ACTOR, "ignore")
    runner = _start("step_runner", "run", str(step), "--graceful-exit-delay", "10m")
    _read_until(runner, "ready")
    press(runner.pid)
    _read_until(runner, "CTRL_BREAK")
    press(runner.pid)  # a repeat changes nothing
    time.sleep(1)
    press(runner.pid, ctrl_c=True)
    output = _rest(runner)
    assert runner.returncode == CANCELLED_BY_BREAK, output
    assert "Killed at once: second Ctrl-C" in output
    assert "Ended 1 process by force: " in output


def test_ctrl_c_stops_command_gracefully(tmp_path: Path, press: Callable[..., None]) -> None:
    """Stand-in: `python -m gracefulexitcmd` forwards Ctrl-C as CTRL_BREAK."""
    mark = tmp_path / "mark"
    runner = _start("gracefulexitcmd", "--", sys.executable, ACTOR, "heed", str(mark))
    _read_until(runner, "ready")
    press(runner.pid, ctrl_c=True)
    assert _rest(runner) == ""
    assert (runner.returncode, mark.read_text().count("cleaned")) == (130, 1)


def test_command_leaves_no_process_and_returns_its_status() -> None:
    """Proves Windows: also for a status above 2³¹, an NTSTATUS of a crash."""
    program = (
        "import ctypes, subprocess, sys\n"
        "left = subprocess.Popen([sys.executable, sys.argv[1], 'ignore'], stderr=subprocess.PIPE)\n"
        "left.stderr.readline()\n"
        "ctypes.windll.kernel32.ExitProcess(ctypes.c_uint(0xC0000005))\n"
    )
    ended = _run("gracefulexitcmd", "--grace", "0", "--", sys.executable, "-c", program, ACTOR)
    assert ended.status == 0xC0000005
    assert ended.stderr.startswith("gracefulexitcmd: ended by TerminateJobObject: ")


def test_missing_program_is_named() -> None:
    """Proves Windows."""
    ended = _run("gracefulexitcmd", "--", "no-such-program")
    assert ended.status == 127
    assert ended.stderr.startswith("gracefulexitcmd: cannot run no-such-program: ")


def test_ci_runs_steps_of_variable(tmp_path: Path) -> None:
    """Proves Windows: a step has only the variables that programs need to start."""
    _step_file(tmp_path / "step.yml", "-c", "import os; print(os.environ['SYSTEMROOT'], 'SECRET' in os.environ)")
    steps = f"[{{name: hello, func: '{tmp_path}\\step.yml'}}]"
    ended = _run("step_runner", "ci", STEPS=steps, SECRET="x", CI_PROJECT_DIR=str(tmp_path))
    assert ended.status == 0, ended.stderr
    assert ended.stdout.splitlines() == [f"{os.environ['SYSTEMROOT']} False"]


def test_check_reports_fault_with_place(tmp_path: Path) -> None:
    """Proves Windows."""
    wrong = tmp_path / "step.yml"
    wrong.write_text("spec: {}\n---\nexec:\n  comand: [x]\n")
    ended = _run("step_runner", "check", str(tmp_path / "*.yml"))
    assert ended.status == 1
    assert ":4:3:" in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["bootstrap", "there"], "bootstrap is not supported on Windows"),
        (["serve", "--", "program"], "program: a server cannot run a command on Windows"),
    ],
    ids=["bootstrap", "companion"],
)
def test_unsupported_command_is_refused(arguments: list[str], sentence: str) -> None:
    """Proves Windows."""
    ended = _run("step_runner", *arguments)
    assert ended.status == 1
    assert ended.stderr.startswith(f"Error: {sentence}")


class Server(NamedTuple):
    """A listening server, and the file with its port and token."""

    process: subprocess.Popen[str]
    socket: Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Start a server, and kill it at the end."""
    path = tmp_path / "runner.sock"
    process = _start("step_runner", "serve", "--verbose", "--socket", str(path))
    _read_until(process, f"step-runner is listening on socket {path}")
    yield Server(process, path)
    process.kill()
    _rest(process)


def test_call_without_token_is_refused(server: Server) -> None:
    """Proves Windows: each user of the machine can connect to the port, but only the owner can read the token."""
    import grpc

    from step_runner.api.pb import step_pb2 as pb
    from step_runner.api.pb.step_pb2_grpc import StepRunnerStub

    port = server.socket.read_text().partition(" ")[0]
    with grpc.insecure_channel(port) as channel, pytest.raises(grpc.RpcError) as refused:
        StepRunnerStub(channel).Status(pb.StatusRequest())
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_proxy_forwards_calls(server: Server) -> None:
    """Proves Windows: the proxy needs the token, a client of the proxy does not."""
    with subprocess.Popen(
        [sys.executable, LAUNCH, "step_runner", "proxy", "--socket", str(server.socket)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as proxy:
        assert proxy.stdin is not None
        assert proxy.stdout is not None
        with _port_of(proxy.stdin, proxy.stdout) as address:
            import grpc

            from step_runner.api.pb import step_pb2 as pb
            from step_runner.api.pb.step_pb2_grpc import StepRunnerStub

            with grpc.insecure_channel(address) as channel:
                assert list(StepRunnerStub(channel).Status(pb.StatusRequest()).jobs) == []
        proxy.stdin.close()
        assert proxy.wait(30) == 0


def test_end_of_stdin_ends_waiting_proxy(tmp_path: Path) -> None:
    """Proves Windows: the proxy waits for a server until its stdin ends."""
    socket_path = tmp_path / "sock"
    with subprocess.Popen(
        [sys.executable, LAUNCH, "step_runner", "proxy", "--socket", str(socket_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as proxy:
        with pytest.raises(subprocess.TimeoutExpired):
            proxy.wait(3)
        output, errors = proxy.communicate(timeout=60)
    assert (proxy.returncode, output) == (1, "")
    assert errors.startswith(f"Error: dialing: {socket_path}: no such file or directory: start a server with: ")


@contextlib.contextmanager
def _port_of(stdin: IO[bytes], stdout: IO[bytes]) -> Iterator[str]:
    """Listen on a port; connect the first client to a program's stdin and stdout."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def connected() -> None:
            connection, _ = listener.accept()
            with connection:
                back = threading.Thread(target=copy, args=(stdout.fileno(), connection))
                back.start()
                with contextlib.suppress(OSError):
                    while chunk := connection.recv(65536):
                        os.write(stdin.fileno(), chunk)

        def copy(source: int, connection: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while chunk := os.read(source, 65536):
                    connection.sendall(chunk)

        thread = threading.Thread(target=connected)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_clients_run_job_from_start_to_end(server: Server, tmp_path: Path, press: Callable[..., None]) -> None:
    """Proves Windows except for the breaks, which are stand-ins under Wine."""
    address, mark = server.socket, tmp_path / "mark"
    step = _step_file(tmp_path / "step.yml", ACTOR, "heed", str(mark))
    to_server = ("--socket", str(address))
    assert _run("step_runner", "start", str(step), "--id", "1", *to_server).stdout.startswith('started job "1"')
    follower = _start("step_runner", "logs", "1", "--follow", *to_server)
    _read_until(follower, "ready")
    cancelled = _run("step_runner", "cancel", "1", "--wait", *to_server)
    assert 'job "1" has ended: cancelled' in cancelled.stdout
    assert "no process had to be killed" in cancelled.stdout
    assert "Stopping step" in _rest(follower)
    assert mark.read_text().count("cleaned") == 1
    assert "cancelled" in _run("step_runner", "jobs", *to_server).stdout
    assert _run("step_runner", "close", "1", *to_server).stdout == 'closed job "1"\n'
    press(server.process.pid)
    output = _rest(server.process)
    assert "received SIGBREAK" in output
    assert server.process.returncode == 0, output
    assert not address.exists()


async def test_output_and_notices_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """Proves Windows: the loop moves the output of a step between lines of the runner."""
    from step_runner.jobs.log import JobLog

    log = JobLog(str(tmp_path / "log"))
    program = "import os\nfor number in range(1000): os.write(1, b'step\\n')"
    streams = log.open()
    step = subprocess.Popen([sys.executable, "-c", program], stdout=streams.stdout.write_end)  # noqa: ASYNC220 - the loop runs meanwhile
    streams.started(lambda _number: False)
    for _ in range(1000):
        log.notice("notice")
        await asyncio.sleep(0)
    assert await asyncio.to_thread(step.wait, 60) == 0
    await log.settle()
    log.end()
    lines = [line for line in (tmp_path / "log").read_bytes().split(b"\n") if line]
    assert (lines.count(b"step"), lines.count(b"notice")) == (1000, 1000)
