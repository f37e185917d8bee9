"""The environment at the start of the programs: it is passed on unchanged, and /proc may be missing."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from step_runner.api.client import Client
from step_runner.model import RunRequest

if TYPE_CHECKING:
    from pathlib import Path

SHOW = "env | grep -E '^(LC_|LANG)' || echo none"
STEPS = f"[{{name: a, script: {SHOW!r}}}]"
FUNCTION = f"{{}}\n---\nrun: {STEPS}\n"

GIVEN = [{}, {"LC_CTYPE": "C"}, {"LC_CTYPE": "POSIX"}, {"LC_CTYPE": "C.UTF-8"}, {"LANG": "C"}, {"LC_ALL": "C"}]

PROGRAMS = {
    "run": ["step_runner", "run", "main.yml"],
    "ci": ["step_runner", "ci"],
    "gracefulexitcmd": ["gracefulexitcmd", "--", "sh", "-c", SHOW],
}


def environment(given: dict[str, str]) -> dict[str, str]:
    """Return an environment with only the given variables of the locale."""
    return {"PATH": os.environ["PATH"], "TMPDIR": os.environ["TMPDIR"], "STEPS": STEPS, **given}


def shown(given: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in given.items()) or "none\n"


@pytest.mark.parametrize("given", GIVEN, ids=str)
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_steps_keep_given_locale(tmp_path: Path, program: list[str], given: dict[str, str]) -> None:
    """Steps get no LC_CTYPE that Python has set for itself, and keep one that was given."""
    (tmp_path / "main.yml").write_text(FUNCTION)
    command = [sys.executable, "-m", *program]
    ended = subprocess.run(command, cwd=tmp_path, env=environment(given), capture_output=True, text=True, check=True)
    assert ended.stdout == shown(given)


@pytest.mark.parametrize("given", GIVEN[:2], ids=str)
def test_served_steps_keep_given_locale(temporary: str, given: dict[str, str]) -> None:
    """A server passes on the locale that it was started with, and none of its own."""
    path = f"{temporary}/socket"
    command = [sys.executable, "-m", "step_runner", "serve", "--socket", path]
    with subprocess.Popen(command, env=environment(given), stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            assert "listening" in server.stderr.readline()
            with Client(path) as client:
                client.run(RunRequest(id="1", steps=FUNCTION))
                log = b"".join(client.follow("1")).decode()
        finally:
            server.terminate()
    assert log == f"Running step name=a\n{shown(given)}"


def test_non_utf8_bytes_stay_text_for_tools(tmp_path: Path) -> None:
    """Without a locale grep(1) takes any byte for text, in a step as well."""
    script = r"printf 'caf\351\n' | grep caf"
    (tmp_path / "main.yml").write_text("{}\n---\nrun:\n- name: a\n  script: |\n    " + script + "\n")
    command = [sys.executable, "-m", *PROGRAMS["run"]]
    ended = subprocess.run(command, cwd=tmp_path, env=environment({}), capture_output=True, check=True)
    assert ended.stdout == b"caf\xe9\n"


def test_library_leaves_environment_unchanged() -> None:
    """Only the programs undo the changes of Python: importing and using the library changes no variable."""
    code = "import os; before = dict(os.environ); import gracefulexitcmd as g; g.Cmd(['true']).run();"
    command = [sys.executable, "-c", code + "assert dict(os.environ) == before; print(os.environ['LC_CTYPE'])"]
    ended = subprocess.run(command, env=environment({}), capture_output=True, text=True, check=True)
    assert ended.stdout == "C.UTF-8\n"


UNMOUNT = 'umount -l /proc && exec "$@"'


def can_unmount() -> bool:
    """Whether a process may have a mount namespace without /proc here."""
    command = ["unshare", "--mount", "sh", "-c", UNMOUNT, "sh", "true"]
    return sys.platform == "linux" and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("program", "status", "beginning"),
    [
        (PROGRAMS["run"], 1, "Error: the step runner cannot work: /proc is not mounted"),
        (PROGRAMS["ci"], 1, "Error: the step runner cannot work: /proc is not mounted"),
        (["step_runner", "serve", "--socket", "socket"], 1, "Error: the step runner cannot work: /proc is not mounted"),
        (PROGRAMS["gracefulexitcmd"], 126, "gracefulexitcmd: cannot run sh: /proc is not mounted"),
    ],
    ids=["run", "ci", "serve", "gracefulexitcmd"],
)
def test_missing_proc_is_reported_in_one_sentence(
    tmp_path: Path, program: list[str], status: int, beginning: str
) -> None:
    """Nothing is started on a system where processes cannot be found."""
    if not can_unmount():
        pytest.skip("needs a mount namespace of its own")
    (tmp_path / "main.yml").write_text(FUNCTION)
    command = ["unshare", "--mount", "sh", "-c", UNMOUNT, "sh", sys.executable, "-m", *program]
    env = environment({})
    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("step-runner ")]
    assert (ended.returncode, ended.stdout, len(lines)) == (status, "", 1)
    assert lines[0].startswith(beginning)
