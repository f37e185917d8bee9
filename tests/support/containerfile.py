"""Builds the directory tree of a Containerfile; knows only the instructions of ours: FROM, ARG, COPY, ENTRYPOINT."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Image(NamedTuple):
    """The result of a build: the base image and the entry point."""

    base: str
    entrypoint: tuple[str, ...]


def build(file: Path, context: Path, root: Path, arguments: Mapping[str, str]) -> Image:
    """Execute the instructions on `root`, which must hold the base image.

    COPY reads its sources from `context`, and with `--from` from the base image.
    """
    base, entrypoint, values = "", (), dict(arguments)
    for line in file.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        instruction, _, rest = re.sub(r"\$(\w+)", lambda found: values[found.group(1)], line).partition(" ")
        words = rest.split()
        if instruction == "ARG":
            name, _, default = rest.partition("=")
            values.setdefault(name, default)
        elif instruction == "FROM":
            base = base or words[0]
        elif instruction == "ENTRYPOINT":
            entrypoint = tuple(json.loads(rest))
        else:
            assert instruction == "COPY", line
            _copy(words, context, root)
    return Image(base, entrypoint)


def _copy(words: list[str], context: Path, root: Path) -> None:
    options = dict(word.removeprefix("--").split("=") for word in words[:-2])
    source, target = words[-2], root / words[-1].lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / source.lstrip("/") if "from" in options else context / source, target)
    if "chmod" in options:
        target.chmod(int(options["chmod"], 8))
