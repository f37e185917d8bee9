"""The program as one executable file: a zip archive with a first line for the system."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import io
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from step_runner.bootstrap import distribution

if TYPE_CHECKING:
    from step_runner.bootstrap.distribution import Files

FIRST_LINE = b"#!/usr/bin/env python3\n"

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The time that every file gets, so that the same files make the same archive."""


def launcher() -> bytes:
    """The file's content. It unpacks itself where it is started first, and runs from there.

    It needs the Python version and the platform that it was made with. Raises StepRunnerError where a dependency
    is missing here.
    """
    packages = packed(distribution.files())
    archive = io.BytesIO()
    archive.write(FIRST_LINE)
    with zipfile.ZipFile(archive, "w") as file:
        # The start reads the table of contents each time: the packages count as one file, and are compressed once.
        file.writestr(_info("__main__.py"), _main(hashlib.sha256(packages).hexdigest()))
        file.writestr(_info("start.py"), _source("step_runner.bootstrap.start"))
        file.writestr(_info("packages.zip"), packages)
    return archive.getvalue()


def packed(files: Files) -> bytes:
    """The files as one zip archive; the same names and contents make the same bytes."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, path in sorted(files.items()):
            file.writestr(_info(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def _main(content: str) -> str:
    """The module that Python runs: it hands what it was made for to `start`."""
    made_for = {
        "content": content,
        "version": sys.version_info[:2],
        "suffix": importlib.machinery.EXTENSION_SUFFIXES[0],
    }
    return f"from start import start\n\nstart(__loader__, **{made_for!r})\n"


def _source(module: str) -> bytes:
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).read_bytes()


def _info(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, EARLIEST)
