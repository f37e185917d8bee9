"""`make size` counts lines of code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tools.size import code_lines

ROOT = Path(__file__).parents[1]

MODULE = '''"""A docstring
of two lines."""

# A comment.
LIMIT = 3  # of something
"""What the limit is."""


def double(number: int) -> int:
    """Return it twice."""
    text = """
    of three lines"""
    return number * 2
'''


def test_code_lines_are_counted_without_prose() -> None:
    """Blank lines, comments and docstrings are not code; a string that has a name is."""
    assert code_lines(MODULE) == 5


def test_size_prints_rooms_and_totals() -> None:
    shown = subprocess.run([sys.executable, "tools/size.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    counted = [line.split(maxsplit=1) for line in shown.stdout.splitlines() if line]
    lines = {name: int(count) for count, name in counted}
    rooms = [count for name, count in lines.items() if name.split("/")[0] == "step_runner"]
    assert lines["total of src"] == sum(rooms) > 0
    assert {"gracefulexitcmd/posix", "total of packages/gracefulexitcmd/src"} <= lines.keys()
