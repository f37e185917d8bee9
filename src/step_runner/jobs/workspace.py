"""The private directory of one job: its log, its file variables, and its steps' output files."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING
from urllib.parse import quote

from step_runner import temporary
from step_runner.errors import StepRunnerError
from step_runner.jobs import ledger_key
from step_runner.removal import remove

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gracefulexitcmd import Container
    from step_runner.model import Variable

PREFIX = "step-runner-output-"
"""What the names of all jobs' directories begin with."""

REMOVED = "step-runner-removed-"
"""What the names of directories begin with that are being removed, and of which nothing is needed any more."""

LEDGER = "ledger"
"""The file in a job's directory that names what it has started, for when the step runner is killed."""

LONGEST_NAME = 120
"""Characters of an id that are kept in a file name, which may have 255 bytes in all."""


class Workspace:
    """A job's directory `step-runner-output-ID` below the system's directory for temporary files."""

    def __init__(self, job_id: str) -> None:
        """Makes the directory. Raises StepRunnerError where that is not possible."""
        try:
            self.directory = _make_directory(f"{PREFIX}{encoded(job_id)}")
            self.log = os.path.join(self.directory, "logs")
            self._variables = os.path.join(self.directory, "variables")
        except OSError as error:
            raise StepRunnerError(
                f"initializing request: making the job's directory: {error.filename}: {error.strerror}"
            ) from error

    def variables(self, variables: Iterable[Variable]) -> dict[str, str]:
        """The job's variables by name, those of type file as the path of a file that holds the value.

        Raises StepRunnerError where a file cannot be written.
        """
        return {variable.key: self._value(variable) for variable in variables}

    def keep_ledger(self, container: Container, job_id: str, grace: float) -> None:
        """Write down what the job starts; whoever empties its container later waits `grace` seconds before SIGKILL.

        Raises StepRunnerError where that cannot be written.
        """
        path = os.path.join(self.directory, LEDGER)
        try:
            container.keep_ledger(path, job_id, grace, ledger_key.usable()[0])
        except OSError as error:
            raise StepRunnerError(
                f"initializing request: writing {error.filename or path}: {error.strerror}"
            ) from error

    def remove(self) -> bool:
        """Remove everything, as far as that is possible now; returns whether it is gone.

        It has another name meanwhile: without its ledger nobody else could tell that it is left over.
        """
        parent, name = os.path.split(self.directory)
        if not name.startswith(REMOVED):
            with contextlib.suppress(OSError):  # it is gone, or its parent has gone with it
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


def encoded(name: str) -> str:
    """A name as one part of a path: no `/`, not empty, `.` or `..`, not too long, different for different names."""
    if not name:
        return "%"
    safe = quote(name, safe="").replace(".", "%2E") if name.strip(".") == "" else quote(name, safe="")
    if len(safe) <= LONGEST_NAME:
        return safe
    import hashlib  # OpenSSL is megabytes, and such names are rare

    return f"{safe[:LONGEST_NAME]}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:16]}"


def _make_directory(name: str) -> str:
    """The directory of this name; another one where that is taken, by another server or by one that was killed."""
    path = os.path.join(temporary.directory(), name)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        import tempfile

        return tempfile.mkdtemp(prefix=f"{name}-")
    return path
