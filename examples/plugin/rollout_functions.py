"""Functions for deployments. Their inputs and outputs are what their signatures say."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from step_runner.plugin import Exported


@dataclass
class Rollout:
    """How many files there are now, and a variable for the steps that follow."""

    files: int
    ROLLED_OUT: Exported[str]


def copy(source: Path, target: Path, pause: float = 0) -> Rollout:
    """Copies the files of a directory, one every `pause` seconds; when it is stopped, the target is as it was."""
    files = sorted(path for path in source.iterdir() if path.is_file())
    with restored_on_failure(target):
        for number, file in enumerate(files, start=1):
            shutil.copy2(file, target)
            print(f"copied {file.name}, {number} of {len(files)}")
            time.sleep(pause)
    return Rollout(len(files), str(target))


@contextmanager
def restored_on_failure(target: Path) -> Iterator[None]:
    """Puts a directory back to what it was, unless the block comes to its end. SIGTERM raises SystemExit in it."""
    before = target.with_name(f".{target.name}-before")
    target.mkdir(parents=True, exist_ok=True)
    shutil.copytree(target, before)
    try:
        yield
    except BaseException:
        shutil.rmtree(target)
        before.rename(target)
        print(f"restored {target}")
        raise
    shutil.rmtree(before)
