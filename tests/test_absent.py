"""The end of a run of tests names missing programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_missing_programs_are_named_with_skipped_tests(tmp_path: Path) -> None:
    """At the end of a run: each program, and the number of tests that were skipped without it."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"PATH": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "tests/cli/test_completion.py"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "missing programs; .ci/install installs them" in ended.stdout
    assert "bash: 4 tests were skipped\nfish: 1 test was skipped\nzsh: 4 tests were skipped\n" in ended.stdout
