"""Programs that run Python programs and tests."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from tests.tools.stopping import PAYLOAD, Seen, stopped
from tests.tools.toolbox import pypi

PYTEST = ("pytest==9.0.1", "pytest-xdist==3.8.0")
UV = "uv==0.13.9"
ANSIBLE = {"2.17": "ansible-core==2.17.14", "2.19": "ansible-core==2.19.4"}
PYTHONS = ("3.11", "3.13")
FORKSERVER = """import multiprocessing, runpy, sys

if __name__ == "__main__":
    child = multiprocessing.get_context("forkserver").Process(target=runpy.run_path, args=(sys.argv[1],))
    child.start()
    child.join()
"""
WAITS = """import os, time
import pytest

def note(text):
    with open(os.environ["PAYLOAD_LOG"], "a") as file:
        file.write(text + "\\n")

@pytest.fixture
def resource():
    yield
    note("cleaned up")

def test_waits(resource):
    note(f"ready {os.getpid()}")
    time.sleep(30)
"""


@pytest.mark.parametrize("how", ["group", "product"])
def test_uv_run_repeats_the_stop(how: str, log: Path) -> None:
    """The program has it from the group and again from uv, as one or as two; its exit status counts."""
    seen = stopped((pypi(UV) / "uv", "run", "--offline", "--no-project", *PAYLOAD), how, log)
    assert (seen.status, seen.cleaned, seen.lives) == (0, True, False)
    assert seen.received in (1, 2)


def test_uv_run_passes_stop_on_once_with_first_leader(log: Path) -> None:
    """With `first: leader` the program gets one signal."""
    seen = stopped((pypi(UV) / "uv", "run", "--offline", "--no-project", *PAYLOAD), "first leader", log)
    assert (seen.status, seen.received, seen.cleaned) == (0, 1, True)


def stop_pytest(log: Path, how: str, *options: str) -> Seen:
    """Stop pytest in the middle of a test that has a fixture to clean up."""
    (log.parent / "test_it.py").write_text(WAITS)
    program = pypi(*PYTEST) / "pytest"
    return stopped((program, "-q", "-p", "no:cacheprovider", *options), how, log, cwd=log.parent)


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_pytest_runs_no_teardown_at_sigterm(options: tuple[str, ...], log: Path) -> None:
    """pytest has no handler for SIGTERM: no teardown, no report."""
    seen = stop_pytest(log, "product", *options)
    assert (seen.status, seen.cleaned, seen.lives) == (-15, False, False)


def test_pytest_runs_teardown_at_sigint(log: Path) -> None:
    """`stop: {signal: SIGINT}` runs the teardown of fixtures; the exit status is 2."""
    seen = stop_pytest(log, "interrupt")
    assert (seen.status, seen.cleaned, seen.lives) == (2, True, False)


def python_of(version: str) -> str:
    """Return a Python of this version: the one that runs this, one of PATH, or one of pyenv."""
    if version == "{}.{}".format(*sys.version_info):
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places = (*pyenv.glob(f"{version}.*/bin"), *map(Path, os.get_exec_path()))
    found = next((place / f"python{version}" for place in places if (place / f"python{version}").exists()), None)
    return str(found or pytest.skip(f"no Python {version} is installed"))


def stop_forkserver(log: Path, how: str, version: str) -> Seen:
    """Stop a program whose worker comes from a fork server."""
    (log.parent / "it.py").write_text(FORKSERVER)
    return stopped((python_of(version), log.parent / "it.py", PAYLOAD[1]), how, log)


@pytest.mark.parametrize("version", PYTHONS)
def test_forkserver_loses_its_workers(version: str, log: Path) -> None:
    """Signalled alone, the parent dies of the signal, and its worker continues."""
    seen = stop_forkserver(log, "leader", version)
    assert (seen.status, seen.received, seen.lives) == (-15, 0, True)


@pytest.mark.parametrize("version", PYTHONS)
def test_product_finds_workers_of_forkserver(version: str, log: Path) -> None:
    """The product signals the worker once and waits for it."""
    seen = stop_forkserver(log, "product", version)
    assert (seen.status, seen.received, seen.cleaned, seen.lives) == (-15, 1, True, False)


def stop_ansible(log: Path, how: str, version: str) -> Seen:
    """Stop a playbook whose task is the payload."""
    task = {"ansible.builtin.command": {"argv": PAYLOAD}}
    play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}]
    (log.parent / "play.yml").write_text(json.dumps(play))
    program = pypi(ANSIBLE[version]) / "ansible-playbook"
    python = f"ansible_python_interpreter={sys.executable}"
    return stopped(
        (program, "-i", "localhost,", "-e", python, "play.yml"), how, log, cwd=log.parent, PAYLOAD_SECONDS="3"
    )


def test_ansible_dies_without_its_task(log: Path) -> None:
    """Signalled alone, ansible 2.17 dies of the signal, and the task continues."""
    seen = stop_ansible(log, "leader", "2.17")
    assert (seen.status, seen.received, seen.lives) == (-15, 0, True)


def test_ansible_passes_stop_on_and_does_not_wait(log: Path) -> None:
    """ansible 2.19 passes the signal on and dies at once, while the task cleans up."""
    seen = stop_ansible(log, "leader", "2.19")
    assert (seen.status, seen.received, seen.cleaned) == (-15, 1, False)


@pytest.mark.parametrize("version", ANSIBLE)
def test_task_of_ansible_is_stopped_by_product(version: str, log: Path) -> None:
    """The default signals the task and waits for it."""
    seen = stop_ansible(log, "product", version)
    assert (seen.status, seen.cleaned, seen.lives) == (-15, True, False)
    assert seen.received in (1, 2)
