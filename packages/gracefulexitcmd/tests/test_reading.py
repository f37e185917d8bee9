"""A command's streams are read and written while it runs, and it is watched meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest

from gracefulexitcmd import DEVNULL, PIPE, STDOUT, AsyncCmd, Cause, Cmd, CommandFailed, contain, run

if TYPE_CHECKING:
    from gracefulexitcmd.cmd import BaseCmd

SCRIPT = "printf 'a\\nb\\n'; echo error >&2; printf c"


def test_run_returns_what_was_written() -> None:
    ended = run(["sh", "-c", SCRIPT], text=True)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("a\nb\nc", "error\n", 0)


def test_run_leaves_what_is_asked_for_uncaptured(capfd: pytest.CaptureFixture[str]) -> None:
    ended = run(["sh", "-c", SCRIPT], stdout=None)
    assert (ended.stdout, ended.stderr) == (None, b"error\n")
    assert run(["echo", "x"], capture_output=False).stdout is None
    assert capfd.readouterr().out == "a\nb\ncx\n"


def test_check_raises_with_the_end_of_stderr() -> None:
    script = "seq 20 >&2; echo '\033[2J'broken >&2; exit 3"
    with pytest.raises(CommandFailed, match="exit status 3") as failure:
        run(["sh", "-c", script], check=True)
    error = failure.value
    assert error.argv == ("sh", "-c", script)
    assert error.exit.returncode == 3
    lines = str(error).splitlines()
    assert lines[1:3] == ["  12", "  13"]
    assert lines[-1] == r"  \x1b[2Jbroken"


def test_check_returns_the_exit_of_success() -> None:
    ended = run(["true"])
    assert ended.check() is ended
    with pytest.raises(CommandFailed, match="sleep 1000: timeout after 0"):
        run(["sleep", "1000"], timeout=0.05).check()


@pytest.mark.parametrize("text", [False, True])
async def test_async_run_checks(text: bool) -> None:
    ended = await AsyncCmd(["echo", "x"], stdout=PIPE, text=text).run(check=True)
    assert ended.stdout == ("x\n" if text else b"x\n")
    with pytest.raises(CommandFailed, match="false: exit status 1"):
        await AsyncCmd(["false"]).run(check=True)


def test_exit_can_be_pickled_and_shown() -> None:
    ended = run(["sh", "-c", "echo secret; exit 2"])
    assert pickle.loads(pickle.dumps(ended)) == ended
    assert (
        repr(ended)
        == "<Exit of sh -c 'echo secret; exit 2': exit status 2, 0 ended, stdout=<7 bytes>, stderr=<0 bytes>>"
    )
    error = pickle.loads(pickle.dumps(CommandFailed(ended)))
    assert (error.exit, str(error)) == (ended, "sh -c 'echo secret; exit 2': exit status 2")


def test_command_shows_its_state() -> None:
    command = Cmd(["sleep", "1000"])
    assert repr(command) == "<Cmd sleep 1000: not started>"
    with command:
        assert repr(command) == f"<Cmd sleep 1000: running, pid {command.pid}>"
    assert repr(command).startswith("<Cmd sleep 1000: cancelled after 0.")


# Reading


def test_lines_are_read_as_they_come() -> None:
    """The command waits for an answer to each line, so nothing is held back."""
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


def test_stderr_can_be_read_beside_a_large_stdout() -> None:
    """What nobody reads at the moment is collected, so the command never waits for its reader."""
    script = "head -c 1000000 /dev/zero; echo done >&2"
    with Cmd(["sh", "-c", script], stdout=PIPE, stderr=PIPE) as command:
        assert command.stderr.readline() == b"done\n"
        ended = command.wait()
    assert ended.stdout == bytes(1_000_000)


def test_rest_can_be_read_after_the_end() -> None:
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


def test_timeout_holds_while_one_reads() -> None:
    with Cmd(["sh", "-c", "echo x; exec sleep 1000"], stdout=PIPE, text=True, timeout=0.1) as command:
        assert list(command.stdout) == ["x\n"]
    assert command.exit is not None
    assert command.exit.cause is Cause.TIMEOUT


async def test_async_timeout_holds_while_nobody_waits() -> None:
    command = AsyncCmd(["sleep", "1000"], stdout=PIPE, timeout=0.05)
    await command.start()
    while command._execution.exit is None:  # noqa: ASYNC110 - nobody may wait for it
        await asyncio.sleep(0.01)
    assert (await command.wait()).cause is Cause.TIMEOUT


def test_reading_goes_on_although_the_command_has_ended_and_another_holds_the_pipe() -> None:
    """At most for the grace: the holder is named then."""
    script = "sleep 1000 & echo $!"
    with Cmd(["sh", "-c", script], stdout=PIPE, text=True, grace=0.1) as command:
        (pid,) = command.stdout
    assert command.exit is not None
    assert [holder.pid for holder in command.exit.holders] == [int(pid)]
    Cmd(["kill", pid.strip()]).run()
    with contextlib.suppress(ChildProcessError):  # it came to this process where an earlier test made that a subreaper
        os.waitpid(int(pid), 0)


def test_one_thread_reads_while_another_waits() -> None:
    with Cmd(["sh", "-c", "for n in $(seq 300); do echo $n; done"], stdout=PIPE) as command:
        waiting = threading.Thread(target=command.wait)
        waiting.start()
        assert len(list(command.stdout)) == 300
        waiting.join()


def test_block_that_is_left_while_output_comes_ends_the_command() -> None:
    with Cmd(["yes"], stdout=PIPE, grace=30) as command:
        for _line in command.stdout:
            break
    assert command.exit is not None
    assert (command.exit.cause, command.exit.forced) == (Cause.CANCELLED, False)


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
@pytest.mark.parametrize("kind", [Cmd, AsyncCmd])
def test_what_is_no_pipe_cannot_be_read_or_written(kind: type[BaseCmd], name: str) -> None:
    command = kind(["true"], stderr=STDOUT, stdout=DEVNULL)
    with pytest.raises(ValueError, match=f"{name} is not a pipe: give {name}=PIPE"):
        getattr(command, name)


def test_reading_before_the_start_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not started yet"):
        Cmd(["true"], stdout=PIPE).stdout.read()


# Writing


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_what_is_written_arrives_whole(size: int) -> None:
    """Also where the command writes as much at the same time."""
    with Cmd(["cat"], stdin=PIPE, stdout=PIPE) as command:
        command.stdin.write(b"x" * size)
        command.stdin.close()
        ended = command.wait()
    assert ended.stdout == b"x" * size


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
async def test_async_what_is_written_arrives_whole(size: int) -> None:
    async with AsyncCmd(["cat"], stdin=PIPE, stdout=PIPE) as command:
        for _ in range(10):
            await command.stdin.write(b"x" * (size // 10))
        await command.stdin.close()
        ended = await command.wait()
    assert ended.stdout == b"x" * size


def test_writing_to_what_does_not_read_is_a_broken_pipe() -> None:
    with Cmd(["sh", "-c", "exec <&-; echo closed; exec sleep 1000"], stdin=PIPE, stdout=PIPE) as command:
        command.stdout.readline()
        with pytest.raises(BrokenPipeError):
            command.stdin.writelines([b"x" * 100_000] * 3)


# Text


def test_text_has_line_feeds_alone() -> None:
    assert run(["printf", "a\\r\\nb\\rc"], text=True).stdout == "a\nb\nc"


def test_input_is_text_where_the_output_is() -> None:
    assert run(["cat"], input="ä", encoding="latin-1").stdout == "ä"
    assert run(["od", "-An", "-tx1"], input="ä", encoding="latin-1").stdout == " e4\n"


def test_output_that_is_not_the_text_asked_for_is_an_error() -> None:
    """The command has ended all the same, and its exit has the output with escapes."""
    command = Cmd(["printf", "a\\377"], stdout=PIPE, encoding="utf-8")
    with pytest.raises(UnicodeDecodeError):
        command.run()
    assert command.exit is not None
    assert command.exit.stdout == "a\\xff"
    assert run(["printf", "a\\377"], encoding="utf-8", errors="replace").stdout == "a\ufffd"


def test_unknown_encoding_is_refused_at_once() -> None:
    with pytest.raises(LookupError, match="unknown encoding: klingon"):
        Cmd(["true"], encoding="klingon")


# Bounds


def test_end_of_the_output_is_kept_where_there_is_too_much() -> None:
    ended = run(["seq", "100000"], max_output=14, text=True)
    assert (ended.stdout, ended.dropped) == ("99999\n100000\n"[-14:].rjust(14, "\n"), 588_895 - 14)


def test_nothing_is_dropped_below_the_bound() -> None:
    ended = run(["seq", "3"], max_output=6)
    assert (ended.stdout, ended.dropped) == (b"1\n2\n3\n", 0)


# Polling and waiting


def test_poll_is_true_at_any_moment() -> None:
    command = Cmd(["sh", "-c", "read -r _; exit 7"], stdin=PIPE)
    with command:
        assert command.poll() is None
        command.stdin.write(b"\n")
        command.stdin.flush()
        while (ended := command.poll()) is None:
            pass
    assert (ended.cause, ended.returncode) == (Cause.EXITED, 7)


def test_what_ended_before_the_first_signal_was_not_cancelled() -> None:
    """A server that crashed is not reported as cancelled, and no signal is said to have been sent."""
    with Cmd(["sh", "-c", "exit 3"], stdout=DEVNULL) as command:
        assert command.pid is not None
        os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOWAIT)
    assert command.exit is not None
    assert (command.exit.cause, command.exit.returncode, command.exit.signals) == (Cause.EXITED, 3, ())


def test_wait_gives_up_after_its_timeout_and_the_command_goes_on() -> None:
    with Cmd(["sleep", "1000"]) as command:
        with pytest.raises(TimeoutError, match=r"not ended after 0\.05 s"):
            command.wait(timeout=0.05)
        assert command.poll() is None


async def test_async_wait_gives_up_after_its_timeout_and_the_command_goes_on() -> None:
    async with AsyncCmd(["sleep", "1000"]) as command:
        with pytest.raises(TimeoutError, match=r"not ended after 0\.05 s"):
            await command.wait(timeout=0.05)
        assert command.poll() is None


# Containers


async def test_async_contain_never_blocks_the_loop() -> None:
    """What is left needs its whole grace, and the loop goes on meanwhile."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    script = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    async with contain(grace=0.3) as box:
        command = AsyncCmd(["sh", "-c", script], stdout=PIPE, container=box)
        await command.start()
        assert await command.stdout.readline() == b"ready\n"
        before = ticks
    ticking.cancel()
    assert ticks > before + 5
    assert box.exit.forced
    assert "SIGKILL" in {process.ended_by for process in box.exit.census}


async def test_async_contain_holds_many_commands() -> None:
    async with contain(grace=5) as box, asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(AsyncCmd(["sh", "-c", "sleep 1000 & exit 0"], container=box).run(check=True))
    assert [process.program for process in box.exit.census] == ["sleep"] * 5


async def test_blocking_contain_in_a_loop_says_so() -> None:
    with pytest.warns(RuntimeWarning, match="write async with"), contain():
        pass


def test_contain_tells_that_nothing_was_left() -> None:
    with contain() as box:
        Cmd(["true"], container=box).run()
    assert (box.exit.census, box.exit.forced) == ((), False)


# Start


def test_command_gets_descriptors_that_are_passed(tmp_path: Any) -> None:
    with open(tmp_path / "file", "w+b") as file:
        run(["bash", "-c", f"echo x >&{file.fileno()}"], pass_fds=[file.fileno()], check=True)
        file.seek(0)
        assert file.read() == b"x\n"


def test_command_can_run_as_another_user() -> None:
    ended = run(
        ["sh", "-c", "id -u; id -g; id -G; umask"], user=65534, group=65534, extra_groups=[], umask=0o27, text=True
    )
    assert ended.stdout == "65534\n65534\n65534\n0027\n"
