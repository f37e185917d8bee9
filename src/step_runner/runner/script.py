"""Turns the text of a `script:` into a command."""

from __future__ import annotations

import functools
import os
import tempfile

from step_runner.errors import CommandError

SHELLS = tuple(f"{folder}/{shell}" for shell in ("bash", "sh") for folder in ("/usr/local/bin", "/usr/bin", "/bin"))
"""Where a shell is looked for, in this order; containers made of busybox alone have the last one."""

LONGEST_ARGUMENT = 128 * 1024 - 1
"""Bytes that one argument may have on Linux: MAX_ARG_STRLEN of execve(2), less the final NUL."""


def command(text: str, scratch: str) -> tuple[str, ...]:
    """The command that runs a script; a text too long for an argument is put into a file in `scratch`.

    Raises CommandError where there is no shell.
    """
    script = text.encode(errors="surrogateescape")
    if b"\0" in script:
        raise CommandError("exec: the script holds a NUL character, which no shell can take")
    if len(script) <= LONGEST_ARGUMENT:
        return (shell(), "-c", text)
    # Every script gets a file of its own: a shell that an earlier one left behind may still be reading.
    descriptor, path = tempfile.mkstemp(prefix="script-", dir=scratch)
    with open(descriptor, "wb") as file:
        file.write(script)
    return (shell(), path)


@functools.cache
def shell() -> str:
    """The shell that runs scripts. Raises CommandError where there is none."""
    for path in (*SHELLS, "/busybox/sh"):
        if os.access(path, os.X_OK):
            return path
    raise CommandError("exec: shell not found: script needs bash or sh in /usr/local/bin, /usr/bin or /bin", 1)
