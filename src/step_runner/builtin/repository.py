"""The registries and repositories that functions name, and their clients."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from step_runner.errors import InputError
from step_runner.fetch.oci.names import HOST, checked_repository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from step_runner.fetch.oci.registry import ImageRepository


class RepositoryName(NamedTuple):
    """A registry's host and the path of a repository in it."""

    registry: str
    path: str

    @classmethod
    def parse(cls, text: str) -> RepositoryName:
        """Return the repository `registry/path`. Raise InputError for anything else."""
        registry, _, path = re.sub("/+", "/", text.strip()).strip("/").partition("/")
        if not HOST.fullmatch(registry):
            raise InputError(
                f'"{text[:80]}" does not name a registry; write HOST/PATH, such as registry.example.com/name'
            )
        return cls(registry, checked_repository(path))

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"

    @contextmanager
    def open(self) -> Iterator[ImageRepository]:
        """Open the client of it, with the credentials of this process's environment."""
        from step_runner.fetch.oci.credentials import find_credentials
        from step_runner.fetch.oci.registry import open_repository
        from step_runner.proc import Proc

        # This process is ended by a signal; nothing else cancels it.
        proc = Proc(0)
        credentials = find_credentials(os.environ, self.registry, self.path, proc)
        with open_repository(self.registry, self.path, credentials, proc) as repository:
            yield repository
