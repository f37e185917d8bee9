"""The program that is started, its place, and the error if it cannot start."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.steps import command, run_list, script

from gracefulexitcmd import Cause
from step_runner.runner import script as scripts

if TYPE_CHECKING:
    from pathlib import Path

    from tests.runner.conftest import Workshop

    from gracefulexitcmd import Exit


def program(path: Path, text: str = "#!/bin/sh\necho $0 in $(pwd)\n", mode: int = 0o755) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


async def test_bare_name_is_searched_on_path_of_runner(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    program(workshop.work_dir / "own/tool", "#!/bin/sh\necho own\n")
    program(workshop.work_dir / "theirs/tool", "#!/bin/sh\necho theirs\n")
    monkeypatch.setenv("PATH", f"{workshop.work_dir}/own", prepend=":")
    assert await workshop.output(command("tool", env={"PATH": f"{workshop.work_dir}/theirs:/bin"})) == ["own"]


async def test_name_with_slash_is_relative_to_work_dir_of_step(workshop: Workshop) -> None:
    program(workshop.work_dir / "sub/tool")
    lines = await workshop.output(command("./tool", work_dir=f"{workshop.work_dir}/sub"))
    assert lines == [f"./tool in {workshop.work_dir}/sub"]


CR_LF = ", ends in CR LF: save the file with LF as its line ends"


@pytest.mark.parametrize(
    ("text", "first", "message"),
    [
        (command("./tool"), "#!/bin/sh", 'exec: exec: "./tool": no such file or directory'),
        (command("./tool"), "#!/usr/bin/env sh", "exec: exit status 127"),
        (script("./tool"), "#!/bin/sh", r'step "s1": exec: exit status 12[67]'),  # 126 for bash 5.3
        (script("true\n./tool now"), "#!/usr/bin/env sh", 'step "s1": exec: exit status 127'),
    ],
    ids=["command", "command by env", "script", "script by env"],
)
async def test_first_line_with_cr_lf_is_named(workshop: Workshop, text: str, first: str, message: str) -> None:
    """A CR LF at the end of a first line hides the interpreter, and the error says so."""
    program(workshop.work_dir / "tool", f"{first}\r\necho hello\r\n")
    shown = await workshop.error(text)
    assert re.match(message, shown)
    assert shown.endswith(f': the first line of ./tool, "{first}"{CR_LF}')


async def test_status_127_of_valid_script_is_not_explained(workshop: Workshop) -> None:
    """A valid first line is not given as the reason."""
    program(workshop.work_dir / "tool", "#!/bin/sh\nexit 127\n")
    assert await workshop.error(command("./tool")) == "exec: exit status 127"


async def test_work_dir_of_command_is_expanded(workshop: Workshop) -> None:
    """The work dir of one command changes nothing for the others."""
    (workshop.work_dir / "sub").mkdir()
    text = command("sh", "-c", "echo $(pwd) ${{ work_dir }}", work_dir="${{ work_dir }}/sub")
    assert await workshop.output(text) == [f"{workshop.work_dir}/sub {workshop.work_dir}"]


async def test_each_word_is_expanded_and_not_split(workshop: Workshop) -> None:
    text = command("printf", "<%s>", "${{ vars.A }}", "$HOME *", "")
    lines = await workshop.output(text, variables={"A": "a  b\n"})
    assert "\n".join(lines) == "<a  b\n><$HOME *><>"


async def test_stdin_is_empty(workshop: Workshop) -> None:
    assert await workshop.output(command("sh", "-c", "cat; echo end")) == ["end"]


@pytest.mark.parametrize(
    ("words", "mode", "message"),
    [
        (("./none",), 0o755, 'exec: exec: "./none": no such file or directory'),
        (("./tool",), 0o644, 'exec: exec: "./tool": permission denied: is it executable?'),
        (("./",), 0o755, 'exec: exec: "./": permission denied: is it executable?'),
        (("./text",), 0o755, 'exec: exec: "./text": exec format error: a script needs a first line such as #!/bin/sh'),
        (
            ("./interpreter",),
            0o755,
            'exec: exec: "./interpreter": no such file or directory: the first line of ./interpreter names'
            " /no/such/interpreter, which does not exist",
        ),
    ],
    ids=["missing", "not executable", "directory", "no format", "missing interpreter"],
)
async def test_unstartable_program_is_reported(
    workshop: Workshop, words: tuple[str, ...], mode: int, message: str
) -> None:
    program(workshop.work_dir / "tool", mode=mode)
    program(workshop.work_dir / "text", "echo x\n", mode)
    program(workshop.work_dir / "interpreter", "#!/no/such/interpreter\n", mode)
    assert await workshop.error(command(*words)) == message


@pytest.mark.parametrize(
    ("number", "limit"),
    [(errno.EAGAIN, "processes is reached (ulimit -u)"), (errno.EMFILE, "open files is reached (ulimit -n)")],
    ids=["processes", "files"],
)
async def test_reached_limit_is_named(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, number: int, limit: str
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("gracefulexitcmd.posix.start.start", refuse)
    assert (await workshop.error(command("true"))).endswith(f": the limit of {limit}")


@pytest.mark.parametrize("name", ["none", "file"])
async def test_invalid_work_dir_is_refused(workshop: Workshop, name: str) -> None:
    (workshop.work_dir / "file").touch()
    path = workshop.work_dir / name
    assert await workshop.error(command("true", work_dir=str(path))) == f'exec: the work dir "{path}" does not exist'


async def test_failing_expression_is_reported_for_its_command(workshop: Workshop) -> None:
    assert (await workshop.error(command("echo", "${{ vars.none }}"))).startswith("exec: ")


async def test_failing_middle_line_does_not_end_script(workshop: Workshop) -> None:
    assert await workshop.output(script("false\nfalse | true\necho reached")) == ["reached"]


async def test_script_without_shell_is_reported(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "SHELLS", ())
    monkeypatch.setattr("step_runner.runner.script.os.access", lambda *_: False)
    scripts.shell.cache_clear()
    assert "shell not found" in await workshop.error(script("true"))


async def test_long_scripts_of_one_job_have_separate_files(workshop: Workshop) -> None:
    padding = "#" * 140_000
    steps = run_list(*({"name": f"s{n}", "script": f"echo {n}; stat --format %a $0\n{padding}"} for n in range(2)))
    assert await workshop.output(steps) == ["0", "600", "1", "600"]


TRAPS = """\
for name in INT TERM; do trap "echo got $name; exit 0" $name; done
echo > "$0"
while :; do sleep 0.01; done
"""
"""Prints the name of its signal. A line in the FIFO that is its name ($0) shows that it has started."""

IGNORES = "trap '' INT TERM; echo > \"$0\"; while :; do sleep 0.01; done"


async def stopped(workshop: Workshop, program: str, stop: Any, shell: str = "sh") -> Exit:
    """Return the Exit of a command with a stop policy that is cancelled after its start."""
    pipe = str(workshop.work_dir / "pipe")
    os.mkfifo(pipe)
    running = asyncio.create_task(workshop.run(command(shell, "-c", program, pipe, stop=stop)))
    with await asyncio.to_thread(open, pipe) as begun:
        await asyncio.to_thread(begun.readline)
    workshop.proc.cancel()
    await running
    ((_, ended),) = workshop.stopped
    return ended


@pytest.mark.parametrize("name", ["INT", "TERM"])
async def test_command_is_stopped_by_its_own_signal(workshop: Workshop, name: str) -> None:
    ended = await stopped(workshop, TRAPS, {"signal": f"SIG{name}"})
    assert f"got {name}\n" in workshop.log()
    assert ended.signals[0].name == f"SIG{name}"
    assert (ended.cause, ended.forced) == (Cause.CANCELLED, False)


async def test_command_gets_at_most_its_own_grace_period(workshop: Workshop) -> None:
    """The job's grace period is 20 s; the log shows the shorter one."""
    ended = await stopped(workshop, IGNORES, {"signal": "SIGINT", "grace": "100ms"})
    assert re.search(r", 0(\.1)? s to finish\n", workshop.log())
    kill = next(sent for sent in ended.signals if sent.name == signal.SIGKILL.name)
    assert kill.after - ended.signals[0].after < workshop.proc.graceful_exit_delay / 2


async def test_stop_settings_of_command_spare_background_processes(workshop: Workshop) -> None:
    """Background processes are stopped at the same time, with the job's signal and grace period."""
    pipe = str(workshop.work_dir / "service")
    os.mkfifo(pipe)
    service = "trap 'echo service cleaned; exit' TERM; echo $$ > \"$0\"; while :; do sleep 0.01; done"
    await workshop.run(command("sh", "-c", 'setsid sh -c "$1" "$0" & read pid < "$0"; echo $pid', pipe, service))
    pid = int(workshop.log().split()[-1])
    ended = await stopped(workshop, IGNORES, {"signal": "SIGINT", "grace": "100ms"})
    assert re.search(
        r"Stopping background processes: SIGTERM to \d+ process.*, [12]\d(\.\d)? s to finish\n", workshop.log()
    )
    assert "service cleaned\n" in workshop.log()
    assert [process.ended_by for process in ended.census if process.pid == pid] == ["SIGTERM"]
    assert "SIGKILL" in [process.ended_by for process in ended.census]
    assert {sent.name for sent in ended.signals} == {"SIGINT", "SIGTERM", "SIGCONT", "SIGKILL"}


OBEYS_TERM = "trap 'echo leader told' INT; trap 'exit 0' TERM; echo > \"$0\"; while :; do sleep 0.01; done"


async def test_stop_sequence_runs_through_its_stages(workshop: Workshop) -> None:
    """The log names all remaining stages, then each stage as it comes."""
    stages = [{"signal": "SIGINT", "to": "leader", "wait": "200ms"}, {"signal": "SIGTERM", "wait": "10s"}]
    ended = await stopped(workshop, OBEYS_TERM, stages)
    log = workshop.log()
    # A busy machine may use some of the time before the line is written.
    assert re.search(r'Stopping step "": SIGINT to its leader, 0(\.\d)? s; then SIGTERM to all, 10 s\n', log)
    assert re.search(r'Stopping step "": SIGTERM to \d process(es)?, [\d.]+ s to finish\n', log)
    assert log.index("then SIGTERM") < log.index("leader told")
    assert ended.signals[0].name == "SIGINT"
    assert (ended.returncode, ended.forced) == (0, False)


async def test_stop_sequence_shrinks_to_delay_of_job(workshop: Workshop) -> None:
    stages = [{"signal": "SIGINT", "wait": "30s"}, {"signal": "SIGTERM", "to": "group", "wait": "30s"}]
    ended = await stopped(workshop, OBEYS_TERM.replace("'exit 0' TERM", "'exit 0' INT"), stages)
    shrunk = r"(10|9|9\.\d) s"
    assert re.search(rf"SIGINT to \d process(es)?, {shrunk}; then SIGTERM to its group, {shrunk}\n", workshop.log())
    assert not ended.forced


async def test_leader_stage_signals_the_rest_after_its_end(workshop: Workshop) -> None:
    """Its child lives until then: the signal ends the child, and its end would close the FIFO."""
    own = """mkfifo "$0.child"; sleep 1000 > "$0.child" & exec 3< "$0.child"
        trap 'read -t 0.1 line <&3; echo "child lives: $?"; exit 0' TERM; echo > "$0"; while :; do sleep 0.01; done"""
    ended = await stopped(workshop, own, {"first": "leader"}, shell="bash")
    shared = r"(10|9|9\.\d) s"
    line = rf'Stopping step "": SIGTERM to its leader, {shared}; then SIGTERM to the rest, {shared}\n'
    assert re.search(line, workshop.log())
    assert "child lives: 142\n" in workshop.log(), (
        "bash(1): more than 128 when read's time is over, 1 at the end of file"
    )
    assert [sent.name for sent in ended.signals] == ["SIGTERM", "SIGCONT"] * 2
    assert (ended.returncode, ended.forced) == (0, False)


async def test_command_gets_at_most_the_time_of_its_job(workshop: Workshop) -> None:
    workshop.proc.graceful_exit_delay = 0.1
    await stopped(workshop, IGNORES, {"grace": "1h"})
    assert re.search(r", 0(\.1)? s to finish\n", workshop.log())
