"""The first thing that runs in a launcher: unpacks the packages beside it once, and runs the program from there.

It has to run with every Python since 3.6, so that an old one can be told that it is too old, and to import next to
nothing, because it runs at every start.
"""

import contextlib
import os
import stat
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import zipimport
    from collections.abc import Iterator


def start(loader: "zipimport.zipimporter", content: str, version: "tuple[int, int]", suffix: str) -> None:
    """Run the program. `content` names its packages, the others say which Python it was made for."""
    if sys.version_info[:2] != version or EXTENSION_SUFFIXES[0] != suffix:
        raise SystemExit(
            "Error: this file needs Python {}.{} with extension modules {}, and {} is Python {}.{} with {}: "
            "start it with that Python, or make the file again with this one: step-runner bootstrap".format(
                *version, suffix, sys.executable, *sys.version_info[:2], EXTENSION_SUFFIXES[0]
            )
        )
    # Nothing else that is installed for this Python may take the place of the program's own packages.
    kept = [path for path in sys.path[1:] if os.path.basename(path) not in ("site-packages", "dist-packages")]
    sys.path[:] = [_unpacked(loader, content), *kept]
    from step_runner.__main__ import main

    main()


def _unpacked(loader: "zipimport.zipimporter", content: str) -> str:
    """The directory of the unpacked packages."""
    reasons = []
    for place in _caches():
        # A link on the way may be another user's, who can change it; what it leads to now is what is checked and used.
        cache = os.path.realpath(place)
        path = os.path.join(cache, content)
        try:
            _check_above(cache)
            _make_private(cache)
            if not os.path.isdir(path):
                _unpack(loader, cache, path)
        except OSError as error:
            reasons.append(f"{error.filename or cache}: {(error.strerror or str(error)).lower()}")
        else:
            return path
    raise SystemExit(
        "Error: cannot unpack itself: {}: set XDG_CACHE_HOME to a directory of your own".format("; ".join(reasons))
    )


def _caches() -> "Iterator[str]":
    """Where the packages may be kept, the best place first."""
    below = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(below):
        yield os.path.join(below, "step-runner", "programs")
    import tempfile

    yield os.path.join(tempfile.gettempdir(), f"step-runner-programs-{os.getuid()}")


def _check_above(directory: str) -> None:
    """See that nobody else can put something into the place of the directory, or of one above it.

    In a sticky directory of root's, such as /tmp, nobody can move what is another's.
    """
    above = os.path.dirname(directory)
    while True:
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(above)
            if found.st_uid not in (0, os.getuid()):
                raise PermissionError(1, "belongs to another user", above)
            if found.st_mode & 0o022 and not (found.st_mode & stat.S_ISVTX and found.st_uid == 0):
                raise PermissionError(1, "can be written by other users", above)
        if above == os.path.dirname(above):
            return
        above = os.path.dirname(above)


def _make_private(directory: str) -> None:
    """See that the directory is there and this user's alone: what lies in it is run."""
    with contextlib.suppress(FileExistsError):
        os.makedirs(directory, 0o700)
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(20, "is no directory", directory)
    if found.st_uid != os.getuid():
        raise PermissionError(1, "belongs to another user", directory)
    if found.st_mode & 0o022:
        raise PermissionError(1, "can be written by other users", directory)


def _unpack(loader: "zipimport.zipimporter", cache: str, path: str) -> None:
    """Make the directory, complete from the moment it is there, whoever else does the same."""
    import io
    import shutil
    import tempfile
    import zipfile

    made = tempfile.mkdtemp(dir=cache)
    try:
        packages = loader.get_data(os.path.join(loader.archive, "packages.zip"))
        with zipfile.ZipFile(io.BytesIO(packages)) as archive:
            archive.extractall(made)
        os.rename(made, path)
    except OSError:
        if not os.path.isdir(path):
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
