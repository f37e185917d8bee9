"""Builds the directory tree that a Containerfile describes, as far as ours do: FROM, ARG, COPY and ENTRYPOINT."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Image(NamedTuple):
    """What was built: the image it began with, and its entry point."""

    base: str
    entrypoint: tuple[str, ...]


def build(file: Path, context: Path, root: Path, arguments: Mapping[str, str]) -> Image:
    """Carry out the instructions on `root`, which holds the base image already.

    Sources lie below `context`, those of `--from` in the base image.
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
