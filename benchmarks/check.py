"""Measures `step-runner check` of a file with 2,000 steps: seconds from start to end of the program."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS = 2_000
LIMIT = 2.0

FUNCTION = """\
spec:
  inputs:
    target: {type: string}
  outputs:
    image: {type: string}
---
exec:
  command: [build, "${{ inputs.target }}", "${{ output_file }}"]
"""


def measure(rounds: int) -> float:
    """Return the median of all rounds, in seconds."""
    with tempfile.TemporaryDirectory() as directory:
        path = write(Path(directory))
        return statistics.median(_time(path) for _ in range(rounds))


def write(directory: Path, steps: int = STEPS) -> Path:
    """Write the file: half of its steps call a function, half run a script with its output."""
    (directory / "build").mkdir()
    (directory / "build" / "func.yml").write_text(FUNCTION)
    path = directory / "main.yml"
    path.write_text("{}\n---\nrun:\n" + "".join(_pair(number) for number in range(steps // 2)))
    return path


def _pair(number: int) -> str:
    return f"""\
  - name: build_{number}
    func: ./build
    inputs:
      target: ${{{{ vars.CI_COMMIT_REF_NAME == "main" && "production" || "staging" }}}}
    env: {{NUMBER: "{number}"}}
  - name: use_{number}
    script: |
      echo "${{{{ steps.build_{number}.outputs.image }}}}"
      make -C part_{number} install
"""


def _time(path: Path) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "step_runner", "check", str(path)], check=True)
    return time.perf_counter() - start


def main(arguments: list[str] | None = None) -> None:
    """Print the figure, and whether it misses its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="take a third of the time")
    figure = measure(rounds=3 if parser.parse_args(arguments).short else 9)
    verdict = "ok" if figure <= LIMIT else "missed"
    print(f"check of {STEPS} steps: {figure:5.2f} s (at most {LIMIT:.0f}) {verdict}")


if __name__ == "__main__":
    main()
