"""Turns the text of a `script:` into a command."""

from __future__ import annotations

import functools
import ntpath
import os
import sys
from typing import TYPE_CHECKING

from step_runner.errors import CommandError
from step_runner.paths import with_slashes
from step_runner.runner import exec_space

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SHELLS = tuple(f"{folder}/{shell}" for shell in ("bash", "sh") for folder in ("/usr/local/bin", "/usr/bin", "/bin"))
"""Paths of a shell, in the order of the search. Containers with busybox alone have the last one."""

POWERSHELLS = ("pwsh", "powershell")

STORE = "\\microsoft\\windowsapps\\"
"""The end of the path of the directory with the store's programs."""


def command(text: str, scratch: str, *, secret: bool = False) -> tuple[str, ...]:
    """Return the command that runs a script. A secret or overlong script is put into a file in `scratch`.

    Every user can see the arguments of a process, but only the owner can read the file.

    On Windows every script is put into a file. A program there gets its arguments as one text, and bash splits it by
    rules of its own: a script would end at its first line, and lose some of its quotes.

    Raise CommandError when there is no shell.
    """
    script = text.encode(errors="surrogateescape")
    if b"\0" in script:
        raise CommandError("exec: the script holds a NUL character, which no shell can take")
    if is_powershell(shell()):
        return powershell_command(shell(), _stored(powershell_text(text), scratch, ".ps1"))
    if not secret and len(script) <= exec_space.LONGEST_TEXT and sys.platform != "win32":
        return (shell(), "-c", text)
    return (shell(), with_slashes(_stored(script, scratch)))


def powershell_text(text: str) -> bytes:
    """Return a script for PowerShell that stops at the first error and ends with the status of the last program.

    Without a byte order mark Windows PowerShell would not read it as UTF-8.
    """
    first, last = "$ErrorActionPreference = 'Stop'; ", "\nif ($LASTEXITCODE) { exit $LASTEXITCODE }\n"
    return f"{first}{text}{last}".encode("utf-8-sig", errors="replace")


def powershell_command(shell: str, path: str) -> tuple[str, ...]:
    """Return the command that runs a file with PowerShell."""
    return (shell, "-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File", path)


@functools.cache
def is_powershell(shell: str) -> bool:
    """Return whether a shell is PowerShell, by its path."""
    return ntpath.splitext(ntpath.basename(shell))[0].lower() in POWERSHELLS


def notice(shell: str) -> str:
    """Return a sentence that names the shell of a script."""
    return f"{'bash was not found: ' if is_powershell(shell) else ''}the script is run by {shell}"


def _stored(script: bytes, scratch: str, ending: str = "") -> str:
    """Return the path of a file that holds a script. Raise CommandError when it cannot be written."""
    # Each script gets its own file: a background shell of an earlier script may still be reading one.
    try:
        import tempfile

        descriptor, path = tempfile.mkstemp(prefix="script-", suffix=ending, dir=scratch)
        with open(descriptor, "wb") as file:
            file.write(script)
    except OSError as error:
        raise CommandError(f"exec: writing the script to {error.filename or scratch}: {error.strerror}") from error
    return path


@functools.cache
def shell() -> str:
    """Return the shell that runs scripts. Raise CommandError when there is none."""
    if sys.platform == "win32":
        return windows_shell(os.path.isfile, os.environ)
    for path in (*SHELLS, "/busybox/sh"):
        if os.access(path, os.X_OK):
            return path
    raise CommandError("exec: shell not found: script needs bash or sh in /usr/local/bin, /usr/bin or /bin", 1)


def windows_shell(is_file: Callable[[str], bool], environment: Mapping[str, str]) -> str:
    """Return the shell of Windows: bash, else pwsh, else powershell. Raise CommandError when there is none.

    A bash that belongs to the system or comes from its store is skipped. It runs inside Linux (WSL), with other paths,
    where a stop cannot reach it. Git for Windows has a bash too, which is found even outside PATH.
    """
    folders = [folder.strip('"') for folder in environment.get("PATH", "").split(";") if folder]
    git = ntpath.join(environment.get("PROGRAMFILES", r"C:\Program Files"), "Git", "bin")
    system = ntpath.normcase(ntpath.join(environment.get("SYSTEMROOT", r"C:\Windows"), ""))
    bashes = [folder for folder in (*folders, git) if not _leads_to_linux(folder, system)]
    for name, places in (("bash", bashes), *((shell, folders) for shell in POWERSHELLS)):
        for place in places:
            if is_file(path := ntpath.join(place, f"{name}.exe")):
                return path
    raise CommandError("exec: shell not found: script needs bash, pwsh or powershell in the PATH", 1)


def _leads_to_linux(folder: str, system: str) -> bool:
    place = ntpath.normcase(ntpath.join(folder, ""))
    return place.startswith(system) or place.endswith(STORE)
