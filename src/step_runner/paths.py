"""The rules of this system for paths and names of files."""

from __future__ import annotations

import os
import re
import sys

DEVICE = r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³])"
FORBIDDEN = re.compile(rf'[<>:"|?*\\/\x00-\x1f]|[. ]$|^{DEVICE} *(\.|$)', re.IGNORECASE)
"""Names that no file of Windows can have: reserved characters, devices, and endings that Windows removes silently.

https://learn.microsoft.com/windows/win32/fileio/naming-a-file
"""


def with_slashes(path: str) -> str:
    """Return a path with `/` as its separator. Windows has two separators; elsewhere a `\\` is part of a name."""
    return path.replace("\\", "/") if sys.platform == "win32" else path


def tidy(path: str | os.PathLike[str]) -> str:
    """Return a path as pathlib writes it, with slashes and without `.`; the import of pathlib takes milliseconds.

    `..` stays, because it may follow a link.
    """
    text = with_slashes(os.fspath(path))
    root = text[: len(text) - len(text.lstrip("/"))]
    return root + "/".join(part for part in text.split("/") if part not in ("", ".")) or "."


def is_plain(name: str) -> bool:
    """Return whether a file can have this name. On Windows some names are devices, or lead out of the directory."""
    return sys.platform != "win32" or FORBIDDEN.search(name) is None
