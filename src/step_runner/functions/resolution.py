"""From a reference to a function: finds the step file and reads it once."""

from __future__ import annotations

import functools
import os
import posixpath
import re
from typing import TYPE_CHECKING, TypeAlias

from step_runner.errors import FetchError
from step_runner.fetch.oci.names import image_name
from step_runner.functions.loader import load_function
from step_runner.functions.source import find_file, read_text, unreadable
from step_runner.model import Function, Git, Local, Oci

if TYPE_CHECKING:
    from collections.abc import Callable

Fetched: TypeAlias = Git | Oci
MOST_FUNCTIONS = 256


def resolve(reference: Local | Fetched, base: str, fetch: Callable[[Fetched], str]) -> Function:
    """Return the function that a reference means; `base` is the directory of the function that calls it.

    `fetch` downloads a reference and returns its root directory. Raise FetchError if there is no function,
    FunctionFileError if it cannot be used, and what `fetch` raises.
    """
    if isinstance(reference, Local):
        return resolve_local(reference, base)
    root = fetch(reference).replace("\\", "/")
    try:
        return _load(posixpath.join(root, reference.directory), reference.file, _shown_reference(reference))
    except FetchError as error:
        # A user or a cleaner of old files may have removed files from the cache; fetch() does not notice that.
        advice = f"if it should be there, remove the copy in the function cache, {root}, and it is fetched again"
        raise FetchError(f"{error}; {advice}") from None


def resolve_local(reference: Local, base: str) -> Function:
    """Return the function in a directory of this machine, relative to `base`; empty is the current directory.

    Raise FetchError if there is no function, FunctionFileError if it cannot be used.
    """
    directory = local_directory(reference, base)
    return _load(directory, reference.file, shown_path(directory))


def local_directory(reference: Local, base: str) -> str:
    """Return the absolute directory that a local reference means, with `/` between its parts."""
    return os.path.normpath(os.path.join(os.getcwd(), base, reference.path)).replace(os.sep, "/")


def shown_path(path: str) -> str:
    """Return a path for messages: relative to the current directory if it is below that."""
    here = os.getcwd().replace(os.sep, "/")
    return "." if path == here else path.removeprefix(here + "/")


def _load(directory: str, file: str | None, shown_as: str) -> Function:
    path = find_file(directory, file, shown_as)
    shown = posixpath.join(shown_as, posixpath.basename(path))
    try:
        status = os.stat(path)
    except OSError as error:
        raise unreadable(shown, error) from None
    return _load_unchanged(path, shown, status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=MOST_FUNCTIONS)
def _load_unchanged(path: str, shown_as: str, inode: int, size: int, mtime_ns: int) -> Function:
    """Return the function of a file; the last three arguments make a changed file a new entry of the cache."""
    text = read_text(path, shown_as)
    return load_function(text, file=shown_as, directory=posixpath.dirname(path))[0]


def _shown_reference(reference: Fetched) -> str:
    """Return a reference for messages, without a password."""
    if isinstance(reference, Git):
        url = re.sub(r"//[^/@]*@", "//", reference.url)
        return posixpath.join(f"{url}@{reference.revision}", reference.directory).rstrip("/")
    image = image_name(f"{reference.registry}/{reference.repository}", reference.tag)
    return posixpath.join(image, reference.directory).rstrip("/")
