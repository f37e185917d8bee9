"""The private directory of one job: its log, its file variables, and its steps' output files."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from typing import TYPE_CHECKING

from step_runner import temporary
from step_runner.errors import StepRunnerError
from step_runner.removal import remove

if sys.platform != "win32":
    from step_runner.jobs import ledger_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gracefulexitcmd import ManualContainer
    from step_runner.model import Variable

PREFIX = "step-runner-output-"
"""Prefix of the names of all jobs' directories."""

REMOVED = "step-runner-removed-"
"""Prefix of the names of directories that are being removed. Their content is no longer needed."""

LEDGER = "ledger"
"""The file in a job's directory that names its processes, for recovery after the step runner was killed."""

MOST_FILES, MOST_BYTES = 20, 1 << 20
"""Files in a small directory, and bytes of each: their removal takes less than a millisecond."""

LONGEST_NAME = 120
"""Most characters of an id in a file name, which may have 255 bytes in all."""


class Workspace:
    """A job's directory `step-runner-output-ID` below the system's directory for temporary files."""

    def __init__(self, job_id: str) -> None:
        """Make the directory. Raise StepRunnerError when it cannot be made."""
        try:
            self.directory = _make_directory(f"{PREFIX}{encoded(job_id)}")
            self.log = os.path.join(self.directory, "logs")
            self._variables = os.path.join(self.directory, "variables")
        except OSError as error:
            raise StepRunnerError(
                f"initializing request: making the job's directory: {error.filename}: {error.strerror}"
            ) from error

    def variables(self, variables: Iterable[Variable]) -> dict[str, str]:
        """Return the job's variables by name. The value of a file variable is the path of a file with its content.

        Raise StepRunnerError when a file cannot be written.
        """
        return {variable.key: self._value(variable) for variable in variables}

    def keep_ledger(self, container: ManualContainer, job_id: str, grace: float) -> None:
        """Record the job's processes in the ledger. A recovery waits `grace` seconds between SIGTERM and SIGKILL.

        Windows needs no ledger: it ends the jobs of a killed step runner. Raise StepRunnerError when the ledger cannot
        be written.
        """
        path = os.path.join(self.directory, LEDGER)
        try:
            if sys.platform != "win32":
                container.keep_ledger(path, job_id, grace, ledger_key.sealing())
        except OSError as error:
            raise StepRunnerError(
                f"initializing request: writing {error.filename or path}: {error.strerror}"
            ) from error

    def is_small(self) -> bool:
        """Return whether the directory can be removed faster than a thread starts: it holds a few small files."""
        with contextlib.suppress(OSError), os.scandir(self.directory) as found:
            entries = list(itertools.islice(found, MOST_FILES + 1))
            return len(entries) <= MOST_FILES and all(map(_is_small, entries))
        return True

    def remove(self) -> bool:
        """Remove as much of the directory as is possible now; return whether it is gone.

        Rename it first: without its ledger no other process could recognize it as orphaned.
        """
        parent, name = os.path.split(self.directory)
        if not name.startswith(REMOVED):
            with contextlib.suppress(OSError):  # it is gone, or its parent directory is
                removed = os.path.join(parent, f"{REMOVED}{os.urandom(8).hex()}")
                os.rename(self.directory, removed)
                self.directory = removed
        return remove(self.directory)

    def _value(self, variable: Variable) -> str:
        if not variable.file:
            return variable.value
        path = os.path.join(self._variables, encoded(variable.key))
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._variables, 0o700)
            descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            with open(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                file.write(variable.value)
        except OSError as error:
            raise StepRunnerError(
                f'preparing environment: writing the file variable "{variable.key}": {error.strerror}'
            ) from error
        return path


def _is_small(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False) and entry.stat().st_size <= MOST_BYTES


def encoded(name: str) -> str:
    """Return a name as one path component.

    It has no `/`, is not empty, `.` or `..`, is short enough, and differs for different names.
    """
    if not name:
        return "%"
    safe = name if name.isascii() and name.isidentifier() else _quoted(name)
    if len(safe) <= LONGEST_NAME:
        return safe
    import hashlib  # OpenSSL takes megabytes, and such names are rare

    return f"{safe[:LONGEST_NAME]}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:16]}"


def _quoted(name: str) -> str:
    from urllib.parse import quote

    quoted = quote(name, safe="")
    return quoted.replace(".", "%2E") if name.strip(".") == "" else quoted


def _make_directory(name: str) -> str:
    """Make the directory of this name. Use another name if another server, running or killed, has taken it."""
    path = os.path.join(temporary.directory(), name)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        import tempfile

        return tempfile.mkdtemp(prefix=f"{name}-")
    return path
