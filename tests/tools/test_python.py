"""Programs that run Python programs and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.tools.stopping import PAYLOAD, Seen, stopped
from tests.tools.toolbox import pypi

if TYPE_CHECKING:
    from pathlib import Path

PYTEST = ("pytest==9.0.1", "pytest-xdist==3.8.0")
UV = "uv==0.13.9"
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
    assert seen.told in (1, 2)


def test_uv_run_passes_stop_on_once_to_the_leader(log: Path) -> None:
    """With `first: leader` the program is told once."""
    seen = stopped((pypi(UV) / "uv", "run", "--offline", "--no-project", *PAYLOAD), "first leader", log)
    assert (seen.status, seen.told, seen.cleaned) == (0, 1, True)


def stop_pytest(log: Path, how: str, *options: str) -> Seen:
    """Stop pytest in the middle of a test that has a fixture to clean up."""
    (log.parent / "test_it.py").write_text(WAITS)
    program = pypi(*PYTEST) / "pytest"
    return stopped((program, "-q", "-p", "no:cacheprovider", *options), how, log, cwd=log.parent)


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_pytest_cleans_nothing_up_at_sigterm(options: tuple[str, ...], log: Path) -> None:
    """pytest has no handler for SIGTERM: no teardown, no report."""
    seen = stop_pytest(log, "product", *options)
    assert (seen.status, seen.cleaned, seen.lives) == (-15, False, False)


def test_pytest_cleans_up_at_sigint(log: Path) -> None:
    """`stop: {signal: SIGINT}` runs the teardown of fixtures; the exit status is 2."""
    seen = stop_pytest(log, "interrupt")
    assert (seen.status, seen.cleaned, seen.lives) == (2, True, False)
