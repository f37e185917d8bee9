"""The first module of the single file: makes Python load extension modules from memory, and starts the program.

dlopen(3) needs a file. Each extension module, and each library that it needs, is copied into a memfd, memfd_create(2):
no directory has to be writable, and none has to allow execution (noexec).
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from itertools import count
from typing import TYPE_CHECKING

import _libraries
from embedded_index import EXTENSIONS, LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType
    from zipimport import zipimporter

FUNCTION = "--python-function"
"""The argument that makes the program run one builtin function, as `step_runner.builtin.start` does."""


class Extensions:
    """Finds the extension modules of the archive."""

    def __init__(self, archive: zipimporter) -> None:
        self._archive = archive
        self._loaded: set[str] = set()
        self._numbers = count(1)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of an extension module of the archive; None for any other module."""
        if name not in EXTENSIONS:
            return None
        return ModuleSpec(name, _Loader(self, name), origin=EXTENSIONS[name].file)

    def load_library(self, library: str) -> None:
        """Load a library after the libraries that it needs: the dynamic linker finds a loaded library by its soname."""
        if library in self._loaded:
            return
        self._loaded.add(library)
        for other in LIBRARIES[library].needed:
            self.load_library(other)
        with self.as_file(LIBRARIES[library].file) as place:
            _libraries.load(place)

    @contextmanager
    def as_file(self, member: str) -> Iterator[str]:
        """Return, for the time of the block, the path of a file with a member of the archive; each path is unique."""
        content = self._archive.get_data(member)
        descriptor, place = self._memory(member) if os.path.exists("/proc/self/fd") else _temporary()
        try:
            _write(descriptor, content)
            yield place
        finally:
            os.close(descriptor)
            if not place.startswith("/proc/"):
                os.unlink(place)

    def _memory(self, name: str) -> tuple[int, str]:
        descriptor = os.memfd_create(os.path.basename(name), os.MFD_CLOEXEC)
        # The dynamic linker identifies a library by its path, and descriptors are reused: make each path unique.
        return descriptor, f"/proc/self/{'./' * next(self._numbers)}fd/{descriptor}"


class _Loader(ExtensionFileLoader):
    """Loads one extension module."""

    def __init__(self, extensions: Extensions, name: str) -> None:
        super().__init__(name, EXTENSIONS[name].file)
        self._extensions = extensions

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Load the libraries that the module needs, then return the module."""
        extension = EXTENSIONS[spec.name]
        for library in extension.needed:
            self._extensions.load_library(library)
        with self._extensions.as_file(extension.file) as place:
            spec.origin = place
            return super().create_module(spec)


def _temporary() -> tuple[int, str]:
    """Make a temporary file, for systems without /proc; its directory must not be mounted noexec."""
    # Without `tempfile`, which needs extension modules itself.
    place = f"{os.environ.get('TMPDIR') or '/tmp'}/step-runner-{os.urandom(16).hex()}.so"
    return os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), place


def _write(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def start() -> None:
    """Start the program, or one builtin function of it."""
    sys.meta_path.insert(0, Extensions(globals()["__loader__"]))
    setattr(sys, "frozen", True)  # noqa: B010 - a name that typeshed does not know
    if sys.argv[1:2] == [FUNCTION]:
        from step_runner.builtin.start import main
    else:
        from step_runner.__main__ import main
    main()
