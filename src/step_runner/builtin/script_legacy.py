"""Runs the `script:` of a whole job, as GitLab Runner 19 sends it, in one shell session."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING

from step_runner.errors import InputError
from step_runner.plugin import JobVariables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SHELLS = ("bash", "sh")

DIRECTORIES = "/usr/local/bin:/usr/bin:/bin:/busybox"
"""The directories that are searched for a shell after the PATH."""

LONGEST_ARGUMENT = 128 * 1024 - 1
"""The most bytes of one argument: MAX_ARG_STRLEN of execve(2), less the final NUL."""

DIRECTORY = "RUNNER_TEMP_PROJECT_DIR"
FILE = "gitlab_runner_env"
"""The variable that names the directory, and the file in it, with the variables that earlier stages of the job set."""

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

GREEN, PLAIN = "\033[32;1m", "\033[0;m"

PROLOGUE = (
    "set -o errexit",
    "set +o noclobber",
    "if (set -o pipefail) 2>/dev/null; then set -o pipefail; fi",
)


def script_legacy(
    script: list[str],
    variables: JobVariables,
    debug_trace: bool = False,
    check_for_errors: bool = False,
    posix_escape: bool = False,
    trace_sections: bool = False,
) -> None:
    """Run commands in one session of bash, else sh, until one fails. Show each before it runs.

    `debug_trace` makes the shell trace its commands. `check_for_errors` adds a check after each command that works
    even after `set +e`. `posix_escape` leaves out colours. `trace_sections` makes a command of several lines a section
    of the log. Raise InputError.
    """
    if not script:
        raise InputError('the input "script" is empty: give at least one command')
    if any("\0" in command for command in script):
        raise InputError("a command holds a NUL character, which no shell can take: remove it")
    lines = [*PROLOGUE, *(["set -o xtrace"] if debug_trace else [])]
    for number, command in enumerate(script):
        lines += _shown(command.strip(), f"section_script_step_{number}", not posix_escape, trace_sections)
        if check_for_errors:
            lines.append(_untraced("_status=$?; [ $_status -eq 0 ] || exit $_status"))
    os.environ.update(_of_earlier_stages({**variables, **os.environ}.get(DIRECTORY, "")))
    _exec_shell("\n".join(lines) + "\n")


def _shown(command: str, section: str, coloured: bool, sections: bool) -> Iterator[str]:
    """Yield the lines that show a command and run it."""
    if not command:
        yield _untraced("echo")
        return
    first, *rest = command.splitlines()
    in_section = sections and bool(rest)
    shown = f"$ {command}" if in_section else f"$ {first}{' # collapsed multi-line command' if rest else ''}"
    if in_section:
        yield _marker("start", f"{section}[hide_duration=true,collapsed=true]")
    yield _untraced(f"printf '%s\\n' {shlex.quote(f'{GREEN}{shown}{PLAIN}' if coloured else shown)}")
    yield command
    if in_section:
        yield _marker("end", section)


def _marker(kind: str, section: str) -> str:
    """Return the line that begins or ends a section of a log. Its escape code erases it on a plain terminal."""
    return _untraced(f"printf 'section_{kind}:%s:%s\\r\\033[0K' \"$(date +%s)\" '{section}'")


def _untraced(line: str) -> str:
    """Return the line without its trace: `set -o xtrace` writes to stderr, which the line discards."""
    return f"{{ {line}; }} 2>/dev/null"


def _of_earlier_stages(directory: str) -> Mapping[str, str]:
    """Return the variables that earlier stages of the job wrote as lines KEY=VALUE. Skip other lines."""
    try:
        with open(os.path.join(directory, FILE), errors="surrogateescape", newline="\n") as file:
            pairs = [line.rstrip("\n").partition("=") for line in file] if directory else []
    except OSError:
        return {}
    return {name: value for name, equals, value in pairs if equals and VARIABLE.fullmatch(name) and "\0" not in value}


def _exec_shell(text: str) -> None:
    """Replace this process by the shell, so that signals reach only the shell. Raise InputError without a shell."""
    if sys.platform == "win32":
        raise InputError("a job's script needs a shell of a Unix system: use the function script on Windows")
    found = (shutil.which(shell, path=path) for shell in SHELLS for path in (None, DIRECTORIES))
    shell = next(filter(None, found), None)
    if shell is None:
        raise InputError("shell not found: install bash or sh in a directory of the PATH")
    sys.stdout.flush()
    if len(os.fsencode(text)) <= LONGEST_ARGUMENT:
        os.execv(shell, [shell, "-c", text])
    os.execv(shell, [shell, _stored(text)])


def _stored(text: str) -> str:
    """Return the path of a file with the script; the script removes the file when the shell has opened it."""
    descriptor, path = tempfile.mkstemp(prefix="step-runner-script-")
    with open(descriptor, "w", errors="surrogateescape", newline="\n") as file:
        file.write(_untraced('rm -f -- "$0"') + "\n" + text)
    return path
