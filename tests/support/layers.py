"""Unpacks image layers into the directory of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from step_runner.fetch.limits import Limits
from step_runner.fetch.oci.layers import unpack
from step_runner.fetch.oci.rootfs import RootFs
from step_runner.proc import Proc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 10_001
"""Bytes of a piece."""


def pieces(content: bytes) -> Iterator[bytes]:
    """Yield the content as a registry's client does, in pieces that end anywhere."""
    yield from (content[start : start + SIZE] for start in range(0, len(content), SIZE))


def lay(root: Path, *layers: bytes) -> dict[str, str]:
    """Unpack layers into an empty directory; return the result of `shape`."""
    tree = RootFs(root, Proc(0), Limits())
    for layer in layers:
        unpack(pieces(layer), tree, Proc(0))
    tree.finish()
    return shape(root)


def shape(root: Path) -> dict[str, str]:
    """Return the content of each file by its path; `-> TARGET` for links and `/` for empty directories."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_text()
        elif not any(path.iterdir()):
            found[name] = "/"
    return found


def outside(root: Path) -> list[str]:
    """Return the names of the root and its siblings."""
    return sorted(path.name for path in root.parent.iterdir())
