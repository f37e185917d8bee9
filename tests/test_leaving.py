"""The end of the program, which does not wait for the interpreter to free its memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CALLBACK = "import atexit; atexit.register(print, 'callback', end='')"
THREAD = "import threading, time; threading.Timer(0.2, print, ('thread',), {'end': ''}).start()"
DAEMON = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
LEAVE = "from step_runner.leaving import leave; print('output', end=' '); leave(3)"


@pytest.mark.parametrize(
    ("setup", "last"),
    [("", ""), (CALLBACK, "callback"), (THREAD, "thread"), (DAEMON, "")],
    ids=["nothing", "callback", "thread", "daemon thread"],
)
def test_leaving_equals_exit_of_interpreter(setup: str, last: str) -> None:
    """Output is flushed, callbacks have run, threads have done their work; daemon threads are not waited for."""
    ended = _python(f"{setup}\n{LEAVE}")
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, f"output {last}", "")


def test_leaving_frees_no_object() -> None:
    """Freeing takes most of the interpreter's time: an object that a module holds is never finalized."""
    ended = _python(f"class Slow:\n  def __del__(self): print('finalized')\nkept = Slow()\n{LEAVE}")
    assert ended.stdout == "output "


def test_leaving_reports_unwritable_output() -> None:
    """The interpreter itself says so, with the status 120."""
    full = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)"
    ended = _python(f"{full}\n{LEAVE}")
    assert ended.returncode == 120
    assert "No space left on device" in ended.stderr


def _python(code: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
