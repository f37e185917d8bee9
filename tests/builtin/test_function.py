"""Functions of packages, as steps: their inputs, their outputs, and their end."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.steps import run_list

from step_runner.builtin import function
from step_runner.errors import message
from step_runner.model import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.runner.conftest import Workshop

GREET = """
from dataclasses import dataclass
from step_runner.plugin import Exported, Sensitive

@dataclass
class Greeting:
    text: str
    GREETED: Exported[str]

def greet(name: str, times: int = 2, token: Sensitive[str] = "") -> Greeting:
    print("greeting", name)
    return Greeting(" ".join([f"hello {name}"] * times), name)
"""


def call(name: str, /, **inputs: Any) -> dict[str, Any]:
    return {"name": "a", "func": f"builtin://{name}", "inputs": inputs}


async def test_function_reads_inputs_and_returns_outputs_and_exports(
    workshop: Workshop, install: Callable[..., Path]
) -> None:
    install("demo", GREET, {"demo/greet": "greet"})
    then = {"name": "b", "script": "echo ${{ steps.a.outputs.text }} - $GREETED"}
    assert await workshop.output(run_list(call("demo/greet", name="Ada"), then)) == [
        "greeting Ada",
        "hello Ada hello Ada - Ada",
    ]


async def test_inputs_are_bound_as_in_other_functions(workshop: Workshop, install: Callable[..., Path]) -> None:
    install("demo", GREET, {"greet": "greet"})
    assert 'input "name" required, but not defined' in await workshop.error(run_list(call("greet")))
    error = await workshop.error(run_list(call("greet", name="Ada", nmae="x")))
    assert error.endswith('step does not accept input with name "nmae": it accepts name, times, token')


async def test_input_of_another_type_fails_step(workshop: Workshop, install: Callable[..., Path]) -> None:
    install("demo", GREET, {"greet": "greet"})
    assert await workshop.error(run_list(call("greet", name=5))) == 'step "a": exec: exit status 1'
    assert workshop.log().splitlines()[-1] == (
        'Error: "greet" (demo 1.0, demo:greet): input "name" is of another type than declared:'
        " expected `str`, got `int`"
    )


async def test_secret_is_hidden_from_other_processes(workshop: Workshop, install: Callable[..., Path]) -> None:
    """Neither the arguments nor the environment hold an input; both can be read while the function runs."""
    look = """
from pathlib import Path
from step_runner.plugin import Sensitive

def look(secret: Sensitive[str]) -> None:
    assert secret == "s3cr3t" * 100_000
    for name in ("cmdline", "environ"):
        print(name, "s3cr3t" in Path("/proc/self", name).read_text())
"""
    install("demo", look, {"look": "look"})
    lines = await workshop.output(run_list(call("look", secret="${{ vars.S }}")), variables={"S": "s3cr3t" * 100_000})
    assert lines == ["cmdline False", "environ False"]


async def test_function_has_environment_and_directory_of_a_step(
    workshop: Workshop, install: Callable[..., Path]
) -> None:
    """Its stdin is empty, and nothing in its environment decides where its modules come from."""
    look = """
import os, sys

def look() -> None:
    print(os.getcwd(), os.environ["COLOUR"], repr(sys.stdin.read()), sys.flags.isolated)
"""
    install("demo", look, {"look": "look"})
    (workshop.work_dir / "os.py").write_text("raise SystemExit('the wrong module')")
    step = {**call("look"), "env": {"COLOUR": "green", "PYTHONPATH": str(workshop.work_dir), "PYTHONHOME": "/none"}}
    assert await workshop.output(run_list(step)) == [f"{workshop.work_dir} green '' 1"]


async def test_job_variables_are_passed_by_type(workshop: Workshop, install: Callable[..., Path]) -> None:
    """They are not an input: no caller has to give them, and no caller can."""
    tell = """
from step_runner.plugin import JobVariables

def tell(name: str, variables: JobVariables) -> None:
    print(name, variables["CI_JOB_NAME"], sorted(variables))
"""
    install("demo", tell, {"tell": "tell"})
    variables = {"CI_JOB_NAME": "deploy", "FILE": "/file"}
    lines = await workshop.output(run_list(call("tell", name="Ada")), variables=variables)
    assert lines == ["Ada deploy ['CI_JOB_NAME', 'FILE']"]
    error = await workshop.error(run_list(call("tell", name="Ada", variables={})))
    assert 'step does not accept input with name "variables"' in error


@pytest.mark.parametrize(
    ("level", "told"),
    [(None, ["i", "w", "e"]), ("debug", ["d", "i", "w", "e"]), ("warn", ["w", "e"]), ("error", ["e"])],
)
async def test_log_holds_messages_from_the_level_of_the_job(
    workshop: Workshop, install: Callable[..., Path], level: str | None, told: list[str]
) -> None:
    """The log has the messages of the level that the job asks for, and of more severe levels."""
    tell = """
import logging

def tell() -> None:
    for name in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger("demo"), name)(name[0])
"""
    install("demo", tell, {"tell": "tell"})
    step = {**call("tell"), "env": {} if level is None else {"CI_STEPS_LOG_LEVEL": level}}
    assert await workshop.output(run_list(step)) == told


async def test_log_hides_debug_messages_of_urllib3(workshop: Workshop, install: Callable[..., Path]) -> None:
    """The debug messages of urllib3 hold URLs, which may hold secrets."""
    tell = """
import logging

def tell() -> None:
    for name in ("debug", "info", "warning"):
        getattr(logging.getLogger("urllib3.connectionpool"), name)(f"GET /token?{name}")
"""
    install("demo", tell, {"tell": "tell"})
    step = {**call("tell"), "env": {"CI_STEPS_LOG_LEVEL": "debug"}}
    assert await workshop.output(run_list(step)) == ["GET /token?warning"]


async def test_exception_fails_step_and_log_has_traceback(workshop: Workshop, install: Callable[..., Path]) -> None:
    module = install("demo", "def fail() -> None:\n    raise ValueError('no name')\n", {"fail": "fail"})
    outcome = await workshop.run(run_list(call("fail")))
    assert outcome.error is not None
    assert message(outcome.error) == 'step "a": exec: exit status 1'
    assert workshop.log().splitlines() == [
        "Running step name=a",
        "Traceback (most recent call last):",
        f'  File "{module}", line 2, in fail',
        "    raise ValueError('no name')",
        "ValueError: no name",
        'Error: "fail" (demo 1.0, demo:fail) failed: ValueError: no name',
    ]


@pytest.mark.parametrize(
    ("raised", "status", "line"),
    [("SystemExit('no name given')", 1, "no name given"), ("SystemExit(7)", 7, "Running step name=a")],
    ids=["message", "status"],
)
async def test_exiting_function_chooses_message_and_status(
    workshop: Workshop, install: Callable[..., Path], raised: str, status: int, line: str
) -> None:
    install("demo", f"def leave() -> None:\n    raise {raised}\n", {"leave": "leave"})
    assert await workshop.error(run_list(call("leave"))) == f'step "a": exec: exit status {status}'
    assert workshop.log().splitlines()[-1] == line


async def test_undeclared_value_fails_step(workshop: Workshop, install: Callable[..., Path]) -> None:
    """A value that the signature does not declare fails the step."""
    install("demo", "def give() -> None:\n    return 5\n", {"give": "give"})
    await workshop.error(run_list(call("give")))
    assert '"give" (demo 1.0, demo:give): it returned a value, but its signature declares none' in workshop.log()


WAITING = {
    "function": """
import contextlib, time

@contextlib.contextmanager
def lock():
    try:
        yield
    finally:
        print("unlocked", flush=True)

def wait() -> None:
    with lock():
        try:
            print("ready")
            time.sleep(3600)
        except Exception:
            print("never")
        finally:
            print("cleaned up")
""",
    "coroutine": """
import asyncio

async def wait() -> None:
    try:
        print("ready")
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        print("cleaned up")
        print("unlocked")
""",
    "impatient": """
import os, signal, time

def wait() -> None:
    try:
        print("ready")
        time.sleep(3600)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        print("cleaned up")
        print("unlocked")
""",
    "impatient coroutine": """
import asyncio, os, signal

async def wait() -> None:
    try:
        print("ready")
        await asyncio.Event().wait()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)
        print("cleaned up")
        print("unlocked")
""",
}


@pytest.mark.parametrize("text", WAITING.values(), ids=WAITING.keys())
async def test_cancelled_function_cleans_up(workshop: Workshop, install: Callable[..., Path], text: str) -> None:
    """`finally:` and context managers run, a second SIGTERM does not disturb them, and no force is needed."""
    install("demo", text, {"wait": "wait"})
    running = asyncio.create_task(workshop.run(run_list(call("wait"), {"name": "b", "script": "echo never"})))
    while "ready" not in workshop.log() and not running.done():  # noqa: ASYNC110 - the log is a file
        await asyncio.sleep(0.01)
    workshop.proc.cancel()
    outcome = await running
    assert outcome.error is not None
    assert message(outcome.error) == 'step "a": stopped on request; exec: exit status 143'
    stopping = r'Stopping step "a": SIGTERM to 1 process, [12]\d(\.\d)? s to finish'
    assert re.fullmatch(f"Running step name=a\nready\n{stopping}\ncleaned up\nunlocked\n", workshop.log())
    assert outcome.result is not None
    assert outcome.result.status is Status.CANCELLED
    assert not workshop.stopped[0][1].forced


async def test_program_of_cancelled_function_has_time_to_clean_up(
    workshop: Workshop, install: Callable[..., Path]
) -> None:
    """With `Cmd`, as docs/builtins.md says; `subprocess.run` would kill it at SystemExit."""
    program = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("ready", flush=True)
signal.sigwait({signal.SIGTERM})
print("program cleaned up")
"""
    text = f"""
import sys
from gracefulexitcmd import Cmd

def act() -> None:
    try:
        Cmd([sys.executable, "-c", {program!r}]).run()
    finally:
        print("function cleaned up")
"""
    install("demo", text, {"act": "act"})
    running = asyncio.create_task(workshop.run(run_list(call("act"))))
    while "ready" not in workshop.log() and not running.done():  # noqa: ASYNC110 - the log is a file
        await asyncio.sleep(0.01)
    workshop.proc.cancel()
    await running
    lines = [line for line in workshop.log().splitlines() if not line.startswith("Stopping step")]
    assert lines == ["Running step name=a", "ready", "program cleaned up", "function cleaned up"]
    assert not workshop.stopped[0][1].forced


async def test_cancel_ends_endless_import(workshop: Workshop, install: Callable[..., Path]) -> None:
    text = f"open({str(workshop.work_dir / 'begun')!r}, 'w').close()\nimport time\ntime.sleep(3600)\n"
    install("slow", text, {"slow": "slow"})
    running = asyncio.create_task(workshop.run(run_list(call("slow"))))
    while not (workshop.work_dir / "begun").exists() and not running.done():  # noqa: ASYNC110 - the file is another process's
        await asyncio.sleep(0.01)
    workshop.proc.cancel()
    outcome = await running
    assert outcome.result is not None
    assert outcome.result.status is Status.CANCELLED


async def test_slow_import_fails_after_limit(
    workshop: Workshop, install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "PATIENCE", 0.1)
    install("slow", "import time\ntime.sleep(3600)\n", {"slow": "slow"})
    assert "it cannot be imported: that takes longer than 0.1 s" in await workshop.error(run_list(call("slow")))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import none_such\n", "it cannot be imported: {module}:1: ModuleNotFoundError: No module named 'none_such'"),
        ("", "it cannot be imported: AttributeError: module 'demo' has no attribute 'act'"),
        ("def act(:\n", "it cannot be imported: {module}:1: SyntaxError: invalid syntax"),
        ("print('noise')\ndef act(x): ...\n", 'input "x" has no type; use str, int, float, bool, list, dict, Path'),
        ("import os\nos._exit(3)\n", "it cannot be imported: its process ended with status 3"),
        ("raise SystemExit('not here')\n", "it cannot be imported: not here"),
    ],
    ids=["missing module", "missing function", "syntax", "no type", "dies", "exits"],
)
async def test_unusable_function_is_named_with_its_package(
    workshop: Workshop, install: Callable[..., Path], text: str, problem: str
) -> None:
    module = install("demo", text, {"act": "act"}, version="2.1")
    error = await workshop.error(run_list(call("act")))
    assert error.startswith(
        'step "a": failed to load: fetching builtin function: "act" (demo 2.1, demo:act): '
        + problem.format(module=module)
    )
    assert error.endswith("; fix the package, or install another version")
    assert "demo" not in sys.modules


async def test_builtin_script_equals_script_keyword(workshop: Workshop) -> None:
    """The same shell, the same environment, and outputs of any name."""
    script = 'echo $COLOUR in $(pwd); echo \'{"name": "x", "value": 5}\' >> ${{ output_file }}'
    steps = run_list(call("script", script=script), {"name": "b", "script": "echo got ${{ steps.a.outputs.x }}"})
    lines = await workshop.output(steps, env={"COLOUR": "blue"})
    assert lines == [f"blue in {workshop.work_dir}", "got 5"]
