from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.gateway import Gateway, starting

from step_runner.api.client import Client
from step_runner.model import RunRequest, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Server

    Command = Callable[..., subprocess.CompletedProcess[str]]
    Connected = tuple[subprocess.Popen[bytes], socket.socket]

PROXY = (sys.executable, "-m", "step_runner", "proxy")

MEBIBYTE = os.urandom(1 << 20)

STEPS = """\
{}
---
run:
  - name: work
    script: |
      trap 'echo cleaned; exit 0' TERM
      echo ready
      while :; do sleep 60 & wait $!; done
"""


@pytest.fixture
def listener(temporary: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.join(temporary, "step-runner.sock"))
        listener.listen()
        yield listener


@pytest.fixture
def connected(listener: socket.socket) -> Iterator[Connected]:
    """A proxy, with pipes for stdin and stdout, and the server's end of its connection."""
    with subprocess.Popen(PROXY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as proxy:
        connection, _ = listener.accept()
        with connection:
            yield proxy, connection
        proxy.kill()


def pipes(proxy: subprocess.Popen[bytes]) -> tuple[int, int]:
    assert proxy.stdin is not None
    assert proxy.stdout is not None
    return proxy.stdin.fileno(), proxy.stdout.fileno()


def exactly(read: Callable[[int], bytes], count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        chunk = read(count - len(received))
        assert chunk, "the stream ended too early"
        received += chunk
    return bytes(received)


def test_proxy_passes_single_bytes_at_once_both_ways(connected: Connected) -> None:
    proxy, connection = connected
    stdin, stdout = pipes(proxy)
    for number in range(256):
        byte = bytes([number])
        os.write(stdin, byte)
        assert connection.recv(2) == byte
        connection.send(byte)
        assert os.read(stdout, 2) == byte


def test_proxy_streams_both_ways_with_slow_readers(connected: Connected) -> None:
    """The readers begin when both senders are blocked: each buffer is full then."""
    proxy, connection = connected
    stdin, stdout = pipes(proxy)
    sent = MEBIBYTE * 16
    senders = [
        threading.Thread(target=connection.sendall, args=(sent,)),
        threading.Thread(target=lambda: exactly_written(stdin, sent)),
    ]
    for sender in senders:
        sender.start()
    back, there = bytearray(), bytearray()
    readers = [
        threading.Thread(target=lambda: there.extend(exactly(connection.recv, len(sent)))),
        threading.Thread(target=lambda: back.extend(exactly(lambda count: os.read(stdout, count), len(sent)))),
    ]
    until_idle(proxy)
    for reader in readers:
        reader.start()
    for thread in (*senders, *readers):
        thread.join()
    assert back == there == sent


def exactly_written(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def until_idle(proxy: subprocess.Popen[bytes]) -> float:
    """Wait until the proxy sleeps in a system call and has used no time for a while; return that time."""
    process = psutil.Process(proxy.pid)
    used = -1.0
    while used != (now := sum(process.cpu_times()[:2])) or process.status() != psutil.STATUS_SLEEPING:
        used = now
        time.sleep(0.05)
    return used


def test_proxy_does_not_spin_with_one_side_blocked(connected: Connected) -> None:
    """A poll would report a connection that the server ended again and again."""
    proxy, connection = connected
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while connection.send(MEBIBYTE):
            pass
    connection.close()
    assert until_idle(proxy) < 2.0
    assert proxy.poll() is None


def test_proxy_ends_after_end_of_stdin_and_all_output(connected: Connected) -> None:
    proxy, connection = connected
    stdin = proxy.stdin
    assert stdin is not None

    def send() -> None:
        stdin.write(MEBIBYTE)
        stdin.close()

    sender = threading.Thread(target=send)
    sender.start()
    assert exactly(connection.recv, len(MEBIBYTE)) == MEBIBYTE
    assert connection.recv(1) == b""
    sender.join()
    assert proxy.wait() == 0


def test_server_may_answer_after_end_of_stdin(connected: Connected) -> None:
    proxy, connection = connected
    assert proxy.stdin is not None
    assert proxy.stdout is not None
    proxy.stdin.close()
    assert connection.recv(1) == b""
    connection.sendall(b"last words")
    connection.close()
    assert proxy.stdout.read() == b"last words"
    assert proxy.wait() == 0


def test_proxy_ends_after_end_of_connection_and_all_output(connected: Connected) -> None:
    """Every byte that the server sent before it closed the connection reaches stdout."""
    proxy, connection = connected
    assert proxy.stdout is not None

    def send() -> None:
        connection.sendall(MEBIBYTE)
        connection.close()

    sender = threading.Thread(target=send)
    sender.start()
    assert proxy.stdout.read() == MEBIBYTE
    sender.join()
    assert proxy.wait() == 0


def test_proxy_ends_without_reader_of_stdout(connected: Connected) -> None:
    proxy, connection = connected
    assert proxy.stdout is not None
    assert proxy.stderr is not None
    proxy.stdout.close()
    assert connection.recv(1) == b""
    assert proxy.wait() == 0
    assert proxy.stderr.read() == b""


def test_proxy_leaves_descriptors_blocking(connected: Connected) -> None:
    """Others may share them, a terminal for one."""
    proxy, connection = connected
    connection.send(b"x")
    assert os.read(pipes(proxy)[1], 1) == b"x"
    for descriptor in (0, 1):
        with open(f"/proc/{proxy.pid}/fdinfo/{descriptor}") as file:
            flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
        assert not flags & os.O_NONBLOCK


@pytest.fixture
def waiting(temporary: str) -> Iterator[subprocess.Popen[bytes]]:
    """A proxy that was started before its server, as GitLab Runner 17.11 to 18.5 starts it."""
    with subprocess.Popen(PROXY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as proxy:
        yield proxy
        proxy.kill()


def test_proxy_waits_for_server_and_loses_no_byte(waiting: subprocess.Popen[bytes], temporary: str) -> None:
    """Its input meanwhile reaches the server first, even if that is more than it reads ahead."""
    sent = MEBIBYTE[: 200 * 1024]
    sender = threading.Thread(target=exactly_written, args=(pipes(waiting)[0], sent))
    sender.start()
    until_idle(waiting)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.join(temporary, "step-runner.sock"))
        until_idle(waiting)  # it is refused: no server listens yet
        assert waiting.poll() is None
        listener.listen()
        connection, _ = listener.accept()
        with connection:
            assert exactly(connection.recv, len(sent)) == sent
            connection.sendall(b"answer")
            assert exactly(lambda count: os.read(pipes(waiting)[1], count), 6) == b"answer"
    sender.join()
    assert waiting.wait() == 0


@pytest.mark.parametrize("sent", [b"", MEBIBYTE[:100], MEBIBYTE[: 64 * 1024]], ids=len)
def test_end_of_stdin_ends_waiting_with_status_1(waiting: subprocess.Popen[bytes], temporary: str, sent: bytes) -> None:
    exactly_written(pipes(waiting)[0], sent)
    until_idle(waiting)
    out, errors = waiting.communicate()
    path = os.path.join(temporary, "step-runner.sock")
    advice = f"start a server with: step-runner serve --socket {path}"
    assert (waiting.returncode, out) == (1, b"")
    assert errors.decode() == f"Error: dialing: {path}: no such file or directory: {advice}\n"


def test_proxy_waits_for_every_name_of_socket(command: Command, temporary: str) -> None:
    """Its stdin is empty here, so it waits no time."""
    path = os.path.join(temporary, "step-runner.sock")
    for arguments in ([], ["--socket", path], [temporary]):
        ended = command("proxy", *arguments)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.startswith(f"Error: dialing: {path}: no such file or directory: ")


def test_proxy_waits_for_no_file_that_is_not_a_socket(command: Command, temporary: str) -> None:
    path = Path(temporary, "file")
    path.touch()
    ended = command("proxy", "--socket", str(path), stdin=subprocess.PIPE)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"Error: dialing: {path}: it is not a socket: ")


def test_end_of_stdin_ends_proxy_of_silent_server(connected: Connected) -> None:
    """The proxy shuts down its side of the connection; the server need not close the other one."""
    proxy, connection = connected
    assert proxy.stdin is not None
    proxy.stdin.close()
    assert connection.recv(1) == b""
    assert proxy.wait() == 0


def test_proxy_refuses_socket_together_with_directory(command: Command) -> None:
    ended = command("proxy", "--socket", "/a", "/b")
    assert ended.returncode == 1
    assert ended.stderr == "Error: --socket /a and the directory /b both name a socket: give one of them\n"


@pytest.mark.parametrize("names", [("proxy",), ("steps", "proxy")], ids=" ".join)
def test_client_follows_and_cancels_through_one_proxy(server: Server, temporary: str, names: tuple[str, ...]) -> None:
    """Both calls use the proxy at the same time."""
    path = os.path.join(temporary, "g.sock")
    gateway = Gateway(path, starting(*PROXY[:-1], *names, "--socket", server.path))
    with Client(path) as client:
        client.run(RunRequest(id="1", steps=STEPS))
        log = b""
        for chunk in client.follow("1"):
            log += chunk
            if b"ready\n" in log and b"cleaned\n" not in log:
                client.cancel("1")
        assert b"\ncleaned\n" in log
        assert client.status("1").status is Status.CANCELLED
        client.close("1")
    assert set(gateway.close()) == {0}


def test_client_ahead_of_its_server_is_answered(temporary: str) -> None:
    """As GitLab Runner 17.11 to 18.5 does: its proxy runs when the server starts."""
    path, socket_path = os.path.join(temporary, "g.sock"), os.path.join(temporary, "s.sock")
    gateway = Gateway(path, starting(*PROXY, "--socket", socket_path))
    with Client(path) as client, concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(client.jobs)
        while not any(proxy.poll() is None for proxy in gateway.proxies):
            time.sleep(0.01)
        assert not answer.done()
        command = [sys.executable, "-m", "step_runner", "serve", "--socket", socket_path]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            assert answer.result() == []
            server.terminate()
    assert set(gateway.close()) <= {0, 1}  # 1 where only the server's user was asked for, before it came


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has splice(2)")
def test_bytes_between_pipes_move_within_kernel(connected: Connected) -> None:
    """rchar of /proc/PID/io counts the bytes of read(2), but not those of splice(2)."""
    proxy, connection = connected
    stdin, stdout = pipes(proxy)
    until_idle(proxy)
    before = psutil.Process(proxy.pid).io_counters().read_chars
    for send, receive in (
        (lambda: exactly_written(stdin, MEBIBYTE * 4), connection.recv),
        (lambda: connection.sendall(MEBIBYTE * 4), lambda count: os.read(stdout, count)),
    ):
        sender = threading.Thread(target=send)
        sender.start()
        assert exactly(receive, len(MEBIBYTE) * 4) == MEBIBYTE * 4
        sender.join()
    assert psutil.Process(proxy.pid).io_counters().read_chars - before < len(MEBIBYTE)


def test_long_log_arrives_whole_through_proxy(server: Server, temporary: str) -> None:
    path = os.path.join(temporary, "g.sock")
    gateway = Gateway(path, starting(*PROXY, "--socket", server.path))
    steps = "{}\n---\nexec: {command: [head, -c, '20000000', /dev/zero]}\n"
    with Client(path) as client:
        client.run(RunRequest(id="1", steps=steps))
        assert sum(chunk.count(0) for chunk in client.follow("1")) == 20_000_000
    assert set(gateway.close()) == {0}


def test_sigterm_ends_proxy(connected: Connected) -> None:
    proxy, _ = connected
    proxy.terminate()
    assert proxy.wait() == -signal.SIGTERM
