"""The soak runs to its end at a small size and prints the resources of the server; their amount is not checked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("case", ["jobs", "followers", "a log", "processes"])
def test_soak_prints_usage_before_and_after(case: str) -> None:
    """Each load ends, with the same number of processes as before."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--case", case, "--size", "3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    lines = [line.strip() for line in run.stdout.splitlines()]
    assert run.returncode == 0, run.stderr
    held = [line for line in lines if line.startswith(("before:", "after:"))]
    # Two processes: the server and its supervisor.
    assert [line.rpartition(" processes")[0].rpartition(" ")[2] for line in held] == ["2", "2"]
