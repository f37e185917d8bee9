"""The function cache on a system without flock(2)."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows, or Wine: make test-windows", allow_module_level=True)

from step_runner.fetch.cache import Cache
from step_runner.proc import Proc

if TYPE_CHECKING:
    from pathlib import Path

KEY = ("git", "https://h/x", "C:\\v1")


def _make(entry: Path, _scratch: Path) -> None:
    (entry / "func.yml").write_text("spec: {}\n")


def test_two_threads_make_entry_once(tmp_path: Path) -> None:
    """Proves Windows: the second thread waits for the lock, and finds the entry of the first one."""
    cache, made = Cache(tmp_path / "cache"), []
    inside, go_on = threading.Event(), threading.Event()

    def make(entry: Path, scratch: Path) -> None:
        made.append(entry)
        inside.set()
        assert go_on.wait(30)
        _make(entry, scratch)

    found: list[Path] = []
    getters = [threading.Thread(target=lambda: found.append(cache.get(KEY, make, Proc(0)))) for _ in range(2)]
    getters[0].start()
    assert inside.wait(30)
    getters[1].start()
    go_on.set()
    for getter in getters:
        getter.join()
    assert len(made) == 1
    assert found[0] == found[1]
    assert (found[0] / "func.yml").is_file()


def test_lock_of_killed_process_is_released(tmp_path: Path) -> None:
    """Proves Windows: its unfinished entry is removed."""
    program = (
        "import sys, time\nfrom step_runner.fetch.cache import Cache\n"
        "from step_runner.proc import Proc\n"
        "def make(entry, scratch):\n"
        "    (entry / 'half').write_text('')\n"
        "    print('inside', flush=True)\n"
        "    time.sleep(600)\n"
        f"Cache(sys.argv[1]).get({KEY!r}, make, Proc(0))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "cache")], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "inside\n"
        other.kill()
    entry = Cache(tmp_path / "cache").get(KEY, _make, Proc(0))
    assert [path.name for path in entry.iterdir()] == ["func.yml"]
