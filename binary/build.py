"""Makes the program as one file that needs no Python: `python -m binary.build FILE`.

The file is a program with Python linked into it, main.c, followed by a zip archive. The archive holds the modules of
the step runner, of its dependencies and of the standard library, with the shared libraries that these need. The build
needs a C compiler, and the static library of Python that comes with an installation from source.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import marshal
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from binary import distribution

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import CodeType

HERE = Path(__file__).parent

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The modification time of each member, so that the same files make the same archive."""

UNUSED = frozenset(
    {
        *("__pycache__", "config-*", "curses", "dbm", "distutils", "ensurepip", "idlelib", "lib-dynload", "lib2to3"),
        *("pydoc_data", "site-packages", "sqlite3", "test", "tests", "tkinter", "turtledemo", "unittest", "venv"),
    }
)
"""Directories of the standard library that neither the step runner nor its dependencies import."""

UNUSED_EXTENSIONS = re.compile(r"_crypt|_curses|_curses_panel|_dbm|_gdbm|_sqlite3|_test\w*|_tkinter|nis|readline|xx\w*")
"""Extension modules of the standard library that are not imported, or whose libraries are large."""

OF_GLIBC = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|util|pthread|resolv|anl))\.so\.\d+")
"""Libraries that the target machine must have: they come with the C library."""

NOT_RUN = (".c", ".h", ".pxd", ".pyi", ".pyx", ".pxi", ".a", ".proto")
"""Files of packages that only a compilation against them needs."""


class Built(NamedTuple):
    """A shared object: its name in the archive, and the libraries that it needs, by the names of their files."""

    file: str
    needed: tuple[str, ...]


def build(target: Path) -> None:
    """Make the file. Raise SystemExit with a message if this machine lacks a prerequisite."""
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory, "program")
        _compile(program)
        target.parent.mkdir(parents=True, exist_ok=True)
        made = target.with_name(f".{target.name}-{os.getpid()}")
        made.write_bytes(program.read_bytes() + _archive())
        made.chmod(0o755)
        made.replace(target)


def _compile(program: Path) -> None:
    variables = sysconfig.get_config_vars()
    library = Path(variables["LIBPL"], variables["LIBRARY"])
    if not library.is_file():
        sys.exit(f"Error: {library} does not exist: install it, or use a Python built from source")
    compiler = os.environ.get("CC", "cc")
    # Debian's libpython3.11.a is not position-independent.
    options = ["-O2", "-Wall", "-no-pie", "-rdynamic", f"-I{sysconfig.get_path('include')}", "-o", str(program)]
    # The whole library, because extension modules use parts that Python itself does not.
    linked = ["-Wl,--whole-archive", str(library), "-Wl,--no-whole-archive", "-Wl,--strip-all"]
    # Those of modules in the library, as Debian has them, are linked in: a bare system has only the C library.
    modules = [option for option in shlex.split(variables["MODLIBS"]) if option != "-lm"]
    linked += ["-Wl,-Bstatic", *modules, "-Wl,-Bdynamic"]
    system = shlex.split(f"{variables['LIBM']} {variables['SYSLIBS']} -ldl -lpthread -lutil")
    try:
        subprocess.run([compiler, *options, str(HERE / "main.c"), *linked, *system], check=True)
    except FileNotFoundError:
        sys.exit(f"Error: C compiler {compiler} does not exist: install one, such as gcc and libc6-dev")
    except subprocess.CalledProcessError as error:
        sys.exit(f"Error: the C compiler ended with status {error.returncode}")


def _archive() -> bytes:
    files = {**_standard_library(), **_extensions_of_python(), **distribution.files()}
    files = {name: path for name, path in files.items() if path.suffix not in NOT_RUN}
    extensions = {name: path for name, path in files.items() if name.endswith(tuple(EXTENSION_SUFFIXES))}
    libraries = dict(_libraries(extensions.values()))
    index = f"{_index('EXTENSIONS', _by_module(extensions))}\n{_index('LIBRARIES', _by_file(libraries))}\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:  # not compressed: each start reads it
        for name in sorted({f"{parent}/" for file in files for parent in PurePosixPath(file).parents[:-1]}):
            archive.writestr(zipfile.ZipInfo(name, EARLIEST), b"")  # zipimport recognizes namespace packages by them
        for name, path in sorted({**files, "embedded.py": HERE / "embedded.py"}.items()):
            _add(archive, name, path.read_bytes())
        for name, path in sorted(libraries.items()):
            _add(archive, f"libraries/{name}", path.read_bytes())
        _add(archive, "embedded_index.py", f"{_INDEX}{index}".encode())
    return content.getvalue()


_INDEX = """from collections import namedtuple
Built = namedtuple("Built", "file needed")
"""


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    if name.endswith(".py"):
        code = compile(content, name, "exec", dont_inherit=True, optimize=0)
        name, content = f"{name}c", _as_pyc(code)
    archive.writestr(zipfile.ZipInfo(name, EARLIEST), content)


def _as_pyc(code: CodeType) -> bytes:
    flags_unchecked_hash = (1).to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + flags_unchecked_hash + bytes(8) + marshal.dumps(code)


def _standard_library() -> dict[str, Path]:
    root = Path(sysconfig.get_path("stdlib"))
    return {path.relative_to(root).as_posix(): path for path in _modules(root)}


def _modules(directory: Path) -> Iterator[Path]:
    for path in directory.iterdir():
        if path.is_dir() and path.name not in UNUSED and not path.name.startswith("config-"):
            yield from _modules(path)
        elif path.suffix == ".py":
            yield path


def _extensions_of_python() -> dict[str, Path]:
    directory = Path(sysconfig.get_path("stdlib"), "lib-dynload")
    found = {path.name: path for path in directory.glob("*.so")}
    return {name: path for name, path in found.items() if not UNUSED_EXTENSIONS.fullmatch(name.partition(".")[0])}


def _by_module(extensions: Mapping[str, Path]) -> dict[str, Built]:
    return {_module(name): Built(name, tuple(_needed(path))) for name, path in extensions.items()}


def _by_file(libraries: Mapping[str, Path]) -> dict[str, Built]:
    return {name: Built(f"libraries/{name}", tuple(_needed(path))) for name, path in libraries.items()}


def _module(file: str) -> str:
    """Return the name of the module in a file."""
    suffix = next(suffix for suffix in EXTENSION_SUFFIXES if file.endswith(suffix))
    return file.removesuffix(suffix).replace("/", ".")


def _libraries(objects: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Yield the libraries that shared objects need, directly or indirectly, by the names of their files."""
    for path in objects:
        yield from _needed(path).items()


def _needed(path: Path) -> dict[str, Path]:
    """Return the libraries that a shared object needs, directly or indirectly, without those of the C library.

    Raise SystemExit if one is missing on this machine.
    """
    listed = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^\s*(\S+) => (\S+)", listed, re.MULTILINE)
    needed = {name: Path(place) for name, place in found if not OF_GLIBC.fullmatch(name)}
    for name, place in needed.items():
        if not place.is_absolute():
            sys.exit(f"Error: {path} needs {name}, which is not here: install it")
    return needed


def _index(name: str, built: Mapping[str, Built]) -> str:
    return f"{name} = {dict(sorted(built.items()))!r}"


def main() -> None:
    """Build the file that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m binary.build", description=__doc__)
    parser.add_argument("file", type=Path, help="the file to make")
    build(parser.parse_args().file)


if __name__ == "__main__":
    main()
