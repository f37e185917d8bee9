"""How paths and names of files are written on this system."""

from __future__ import annotations

import re
import sys

DEVICE = r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³])"
FORBIDDEN = re.compile(rf'[<>:"|?*\\/\x00-\x1f]|[. ]$|^{DEVICE} *(\.|$)', re.IGNORECASE)
"""What no file of Windows has in its name: other file systems, streams, devices, and what is left out silently.

https://learn.microsoft.com/windows/win32/fileio/naming-a-file
"""


def with_slashes(path: str) -> str:
    """A path with `/` between its parts, which Windows can write in two ways; elsewhere a `\\` is part of a name."""
    return path.replace("\\", "/") if sys.platform == "win32" else path


def is_plain(name: str) -> bool:
    """Whether a file can have this name; on Windows many names mean something else, or lead out of the directory."""
    return sys.platform != "win32" or FORBIDDEN.search(name) is None
