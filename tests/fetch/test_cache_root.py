"""The directory of the function cache."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from step_runner.fetch.cache import default_root

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(autouse=True)
def no_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Unset all variables for the cache except HOME."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))


def fallback() -> Path:
    return Path(tempfile.gettempdir(), f"step-runner-cache-{os.geteuid()}")


def test_cache_lies_below_home_directory(tmp_path: Path) -> None:
    assert default_root() == tmp_path / ".cache/step-runner/functions"
    assert list(tmp_path.iterdir()) == [], "nothing is made yet"


def test_cache_lies_below_xdg_cache_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "link"))

    assert default_root() == tmp_path / "there/step-runner/functions"


@pytest.mark.parametrize("home", ["/dev/null", "relative"])
def test_cache_lies_below_tmpdir_without_a_home(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.setenv("HOME", home)

    assert default_root() == fallback()


@pytest.mark.parametrize("open_", ["", ".cache", ".cache/step-runner", ".cache/step-runner/functions"])
def test_cache_avoids_parents_writable_by_others(tmp_path: Path, open_: str) -> None:
    """Other users could replace its directory there."""
    (tmp_path / ".cache/step-runner/functions").mkdir(0o700, parents=True)
    (tmp_path / open_).chmod(0o777)

    assert default_root() == fallback()


def test_cache_may_lie_below_sticky_directory(tmp_path: Path) -> None:
    """Other users can add files to a sticky directory, but cannot replace the cache."""
    (tmp_path / ".cache").mkdir()
    tmp_path.chmod(0o1777)

    assert default_root() == tmp_path / ".cache/step-runner/functions"


@as_root
def test_cache_avoids_home_of_another_user(tmp_path: Path) -> None:
    """sudo, for example, can keep HOME."""
    os.chown(tmp_path, 12345, -1)

    assert default_root() == fallback()


PROGRAM = """
import os, sys
from step_runner.fetch.cache import Cache
from step_runner.proc import Proc

os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
print(Cache().get(("kind", "name"), lambda directory, scratch: (directory / "file").touch(), Proc(0)))
"""


@as_root
def test_two_users_of_one_machine_have_separate_caches(temporary: str) -> None:
    os.chmod(temporary, 0o1777)
    command = [sys.executable, "-c", PROGRAM]
    env = {**os.environ, "HOME": "/nonexistent"}
    first, second = (
        Path(subprocess.run([*command, user], env=env, text=True, capture_output=True, check=True).stdout.strip())
        for user in ("12345", "12346")
    )

    assert [path.stat().st_uid for path in (first, second)] == [12345, 12346]
    assert first.parent != second.parent
