"""The package in examples/plugin, built and installed like any other package."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"
RUN = (sys.executable, "-m", "step_runner", "run", str(EXAMPLE))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Install the package; return the directory."""
    target = str(tmp_path_factory.mktemp("installed"))
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", target, str(EXAMPLE)]
    subprocess.run(command, check=True, capture_output=True)
    return target


@pytest.fixture
def path(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the step runner import the package."""
    monkeypatch.setenv("PYTHONPATH", installed)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Make a directory with an older file."""
    directory = tmp_path / "site"
    directory.mkdir()
    (directory / "old.html").write_text("old")
    return directory


@pytest.mark.usefixtures("path")
def test_example_runs(target: Path) -> None:
    ended = subprocess.run([*RUN, "--inputs", f"target={target}"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "copied index.html, 1 of 2",
        "copied style.css, 2 of 2",
        f"2 files are in {target}",
    ]
    assert sorted(os.listdir(target)) == ["index.html", "old.html", "style.css"]


@pytest.mark.usefixtures("path")
def test_cancelled_function_restores_target(target: Path) -> None:
    """Its `except:` and `finally:` blocks run, and no process has to be killed."""
    command = [*RUN, "--inputs", f"target={target},pause=3600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline()]
        running.send_signal(signal.SIGTERM)
        rest, errors = running.communicate()
    lines += rest.splitlines(keepends=True)
    assert lines == ["copied index.html, 1 of 2\n", f"restored {target}\n"]
    assert running.returncode == 128 + signal.SIGTERM
    assert "ignored SIGTERM" not in errors
    assert os.listdir(target) == ["old.html"]
    assert os.listdir(target.parent) == ["site"]


@pytest.mark.usefixtures("path")
def test_check_finds_function_of_package() -> None:
    check = [sys.executable, "-m", "step_runner", "check", str(EXAMPLE)]
    ended = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")


def test_function_is_not_found_without_package(target: Path) -> None:
    ended = subprocess.run([*RUN, "--inputs", f"target={target}"], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert 'fetching builtin function: "rollout/copy" not found; known: docker/auth, ' in ended.stderr
