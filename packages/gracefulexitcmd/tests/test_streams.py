"""All input and output of a command arrives, while it runs and after its end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from tests.support.commands import on_every_path

from gracefulexitcmd import DEVNULL, PIPE, STDOUT, AsyncCmd, Cause, Cmd, run

if TYPE_CHECKING:
    from tests.support.commands import Launch, Start, Wait

    from gracefulexitcmd.cmd import BaseCmd


def test_pipes_are_read_separately(start: Start, wait: Wait) -> None:
    ended = wait(start(["sh", "-c", "printf out; printf err >&2"], stdout=PIPE, stderr=PIPE))
    assert (ended.stdout, ended.stderr) == (b"out", b"err")


def test_stderr_may_go_to_stdout(start: Start, wait: Wait) -> None:
    ended = wait(start(["sh", "-c", "printf out; printf err >&2"], stdout=PIPE, stderr=STDOUT))
    assert (ended.stdout, ended.stderr) == (b"outerr", None)


@pytest.mark.parametrize("size", [0, 1, 1_000_000])
def test_input_arrives_whole(start: Start, wait: Wait, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    ended = wait(start(["cat"], input=content, stdout=PIPE))
    assert ended.ok
    assert ended.stdout == content


@pytest.mark.parametrize("script", ["exit 3", "head -c 10; exit 3", "exec <&-; exit 3"])
def test_unread_input_is_not_an_error(start: Start, wait: Wait, script: str) -> None:
    ended = wait(start(["sh", "-c", script], input=b"x" * 1_000_000, stdout=PIPE))
    assert (ended.cause, ended.returncode) == (Cause.EXITED, 3)


def test_command_that_never_reads_can_be_stopped(launch: Launch, wait: Wait) -> None:
    command, _ = launch("ignore_term.py", input=b"x" * 1_000_000, grace=0)
    command.cancel()
    assert wait(command).returncode == -signal.SIGKILL


@pytest.mark.parametrize("where", ["in", "out"])
@on_every_path
def test_holder_of_output_is_awaited_and_named(launch: Launch, wait: Wait, where: str) -> None:
    """Its output is read until the grace period after the command's exit, and no earlier byte is lost."""
    command, holder = launch("hold_pipe.py", where, stdout=PIPE, grace=0.2)
    ended = wait(command)
    os.kill(int(holder), signal.SIGKILL)
    assert (ended.cause, ended.returncode) == (Cause.EXITED, 0)
    assert 0.2 <= ended.duration < 30
    assert ended.stdout == b"x" * 60_000 + b"end"
    assert [process.pid for process in ended.holders] == [int(holder)]
    assert ended.holders[0].argv[-1] == where


def test_output_of_holder_within_grace_period_is_read(launch: Launch, wait: Wait) -> None:
    command, holder = launch("hold_pipe.py", "out", stdout=PIPE, grace=30)
    os.kill(int(holder), signal.SIGUSR1)
    # The pipe is a queue: once the later SIGTERM has ended the holder, "late" was written.
    os.kill(int(holder), signal.SIGTERM)
    ended = wait(command)
    assert ended.stdout is not None
    assert ended.stdout.startswith(b"x" * 60_000 + b"end")
    assert ended.holders == ()


def test_cancel_ends_holder_of_output_in_group(launch: Launch, wait: Wait) -> None:
    """A process of the group that holds the output open is ended with the command."""
    command, holder = launch("hold_pipe.py", "in", stdout=PIPE, grace=30)
    assert command.pid is not None
    os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOWAIT)
    assert command.poll() is None
    command.cancel()
    ended = wait(command)
    assert (ended.cause, ended.returncode, ended.holders) == (Cause.EXITED, 0, ())
    assert [(process.pid, process.ended_by) for process in ended.census] == [(int(holder), "SIGTERM")]


@on_every_path
def test_output_of_a_trap_arrives_whole(launch: Launch, wait: Wait) -> None:
    command, _ = launch("write_at_term.py", stdout=PIPE)
    command.cancel()
    ended = wait(command)
    assert ended.stdout == b"0123456789" * 1_000_000
    assert (ended.returncode, ended.forced) == (0, False)


SCRIPT = "printf 'a\\nb\\n'; echo error >&2; printf c"


def test_run_returns_output() -> None:
    ended = run(["sh", "-c", SCRIPT], text=True)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("a\nb\nc", "error\n", 0)


def test_run_may_leave_streams_uncaptured(capfd: pytest.CaptureFixture[str]) -> None:
    ended = run(["sh", "-c", SCRIPT], stdout=None)
    assert (ended.stdout, ended.stderr) == (None, b"error\n")
    assert run(["echo", "x"], capture_output=False).stdout is None
    assert capfd.readouterr().out == "a\nb\ncx\n"


def test_lines_are_read_as_they_come() -> None:
    """The command waits for an answer to each line, so no line is held back."""
    script = "for n in 1 2 3; do echo $n; read -r answer; echo got $answer; done"
    with Cmd(["sh", "-c", script], stdin=PIPE, stdout=PIPE, text=True) as command:
        said = []
        for line in command.stdout:
            said.append(line)
            if not line.startswith("got"):
                command.stdin.write(f"{line.strip()}!\n")
                command.stdin.flush()
        command.wait()
    assert said == ["1\n", "got 1!\n", "2\n", "got 2!\n", "3\n", "got 3!\n"]
    assert command.exit is not None
    assert (command.exit.ok, command.exit.stdout) == (True, None)


async def test_async_lines_are_read_as_they_come() -> None:
    script = "for n in 1 2 3; do echo $n; read -r answer; echo got $answer; done"
    async with AsyncCmd(["sh", "-c", script], stdin=PIPE, stdout=PIPE, text=True) as command:
        said = []
        async for line in command.stdout:
            said.append(line)
            if not line.startswith("got"):
                await command.stdin.write(f"{line.strip()}!\n")
    assert said == ["1\n", "got 1!\n", "2\n", "got 2!\n", "3\n", "got 3!\n"]


def test_stderr_can_be_read_with_large_stdout() -> None:
    """The other stream is collected meanwhile, so the command never waits for its reader."""
    script = "head -c 1000000 /dev/zero; echo done >&2"
    with Cmd(["sh", "-c", script], stdout=PIPE, stderr=PIPE) as command:
        assert command.stderr.readline() == b"done\n"
        ended = command.wait()
    assert ended.stdout == bytes(1_000_000)


def test_rest_can_be_read_after_end() -> None:
    with Cmd(["sh", "-c", "seq 3"], stdout=PIPE) as command:
        assert command.stdout.readline() == b"1\n"
        command.wait()
    assert command.stdout.read() == b"2\n3\n"


def test_large_output_is_read_whole() -> None:
    with Cmd(["seq", "200000"], stdout=PIPE, text=True) as command:
        assert sum(1 for _ in command.stdout) == 200_000
    assert command.exit is not None
    assert command.exit.ok


async def test_async_large_output_is_read_whole() -> None:
    async with AsyncCmd(["seq", "200000"], stdout=PIPE) as command:
        lines = [line async for line in command.stdout]
    assert (len(lines), lines[-1]) == (200_000, b"200000\n")


async def test_async_reader_reads_pieces_and_the_rest() -> None:
    async with AsyncCmd(["printf", "one\\ntwo\\nend"], stdout=PIPE, text=True) as command:
        assert await command.stdout.read(2) == "on"
        assert await command.stdout.readline() == "e\n"
        assert await command.stdout.read() == "two\nend"
        assert (await command.stdout.read(), await command.stdout.readline()) == ("", "")


def test_reading_continues_while_another_process_holds_pipe() -> None:
    """It goes on at most for the grace period; then the Exit names the process that holds the pipe."""
    script = "sleep 1000 & echo $!"
    with Cmd(["sh", "-c", script], stdout=PIPE, text=True, grace=0.1) as command:
        (pid,) = command.stdout
    assert command.exit is not None
    assert [holder.pid for holder in command.exit.holders] == [int(pid)]
    Cmd(["kill", pid.strip()]).run()
    with contextlib.suppress(ChildProcessError):  # an earlier test may have made this process a subreaper
        os.waitpid(int(pid), 0)


def test_one_thread_reads_while_another_waits() -> None:
    with Cmd(["sh", "-c", "for n in $(seq 300); do echo $n; done"], stdout=PIPE) as command:
        waiting = threading.Thread(target=command.wait)
        waiting.start()
        assert len(list(command.stdout)) == 300
        waiting.join()


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
@pytest.mark.parametrize("kind", [Cmd, AsyncCmd])
def test_stream_without_pipe_cannot_be_read_or_written(kind: type[BaseCmd], name: str) -> None:
    command = kind(["true"], stderr=STDOUT, stdout=DEVNULL)
    with pytest.raises(ValueError, match=f"{name} is not a pipe: give {name}=PIPE"):
        getattr(command, name)


def test_reading_before_start_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not started yet"):
        Cmd(["true"], stdout=PIPE).stdout.read()


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_written_input_arrives_whole(size: int) -> None:
    """The command may write as much at the same time."""
    with Cmd(["cat"], stdin=PIPE, stdout=PIPE) as command:
        command.stdin.write(b"x" * size)
        command.stdin.close()
        ended = command.wait()
    assert ended.stdout == b"x" * size


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
async def test_async_written_input_arrives_whole(size: int) -> None:
    async with AsyncCmd(["cat"], stdin=PIPE, stdout=PIPE) as command:
        for _ in range(10):
            await command.stdin.write(b"x" * (size // 10))
        await command.stdin.close()
        ended = await command.wait()
    assert ended.stdout == b"x" * size


def test_write_to_closed_input_raises_broken_pipe() -> None:
    with Cmd(["sh", "-c", "exec <&-; echo closed; exec sleep 1000"], stdin=PIPE, stdout=PIPE) as command:
        command.stdout.readline()
        with pytest.raises(BrokenPipeError):
            command.stdin.writelines([b"x" * 100_000] * 3)


def test_text_has_only_line_feeds() -> None:
    assert run(["printf", "a\\r\\nb\\rc"], text=True).stdout == "a\nb\nc"


def test_input_is_text_if_output_is_text() -> None:
    assert run(["cat"], input="ä", encoding="latin-1").stdout == "ä"
    assert run(["od", "-An", "-tx1"], input="ä", encoding="latin-1").stdout == " e4\n"


def test_undecodable_output_raises_error() -> None:
    """The command has ended all the same, and its Exit holds the output with escapes."""
    command = Cmd(["printf", "a\\377"], stdout=PIPE, encoding="utf-8")
    with pytest.raises(UnicodeDecodeError):
        command.run()
    assert command.exit is not None
    assert command.exit.stdout == "a\\xff"
    assert run(["printf", "a\\377"], encoding="utf-8", errors="replace").stdout == "a\ufffd"


def test_unknown_encoding_is_refused_at_once() -> None:
    with pytest.raises(LookupError, match="unknown encoding: klingon"):
        Cmd(["true"], encoding="klingon")


def test_long_output_keeps_its_end() -> None:
    ended = run(["seq", "100000"], max_output=14, text=True)
    assert (ended.stdout, ended.dropped) == ("99999\n100000\n"[-14:].rjust(14, "\n"), 588_895 - 14)


def test_short_output_keeps_everything() -> None:
    ended = run(["seq", "3"], max_output=6)
    assert (ended.stdout, ended.dropped) == (b"1\n2\n3\n", 0)


@pytest.mark.parametrize("text", [False, True])
def test_closed_stdout_cannot_be_read(text: bool) -> None:
    with Cmd(["yes"], stdout=PIPE, text=text) as command:
        assert command.stdout.readline() in (b"y\n", "y\n")
        command.stdout.close()
        assert command.stdout.closed
        with pytest.raises(ValueError, match="closed file"):
            command.stdout.readline()
