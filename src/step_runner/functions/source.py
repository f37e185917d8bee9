"""Finds a step file on this machine and reads it as UTF-8, up to a bound."""

from __future__ import annotations

import os
import posixpath
import stat

from step_runner.errors import FetchError, FunctionFileError
from step_runner.functions.reference import names_step_file
from step_runner.model import Place, Problem
from step_runner.spelling import nearest

FILES = ("func.yml", "step.yml")
MOST_BYTES = 4 * 1024 * 1024


def find_file(directory: str, file: str | None, shown_as: str) -> str:
    """Return the path of a function's step file: the given name, else func.yml, else step.yml.

    `shown_as` is the directory's name in messages. Raise FetchError, with similar names, if there is no such file.
    """
    for name in (file,) if file else FILES:
        path = posixpath.join(directory, name)
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            raise unreadable(shown_as, error) from None
        return path
    raise FetchError(_missing(directory, file, shown_as))


def read_text(path: str, shown_as: str) -> str:
    """Return the text of a step file.

    Raise FetchError if it is not a readable file or larger than 4 MiB, FunctionFileError if it is not UTF-8.
    """
    try:
        _check_regular(path, shown_as)
        with open(path, "rb") as source:
            content = source.read(MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        directory, name = posixpath.split(path)
        raise FetchError(_missing(directory, name, posixpath.dirname(shown_as))) from None
    except (OSError, ValueError) as error:
        raise unreadable(shown_as, error) from None
    if len(content) > MOST_BYTES:
        raise FetchError(f"{shown_as}: is larger than 4 MiB; a step file must be smaller")
    return decode_text(content, shown_as)


def decode_text(content: bytes, shown_as: str) -> str:
    """Return the text of a step file. Raise FunctionFileError with the place of the first byte that is not UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        line = before.count("\n") + 1
        column = len(before) - before.rfind("\n")
        place = Place(file=shown_as, line=line, column=column)
        message = f"the byte 0x{content[error.start]:02x} is not UTF-8: save the file as UTF-8"
        raise FunctionFileError([Problem(place=place, message=message)]) from None


def _check_regular(path: str, shown_as: str) -> None:
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        advice = f"; name the file in it, such as {shown_as.rstrip('/')}/{FILES[0]}"
        raise FetchError(f"{shown_as}: is a directory, not a step file{advice}")
    if not stat.S_ISREG(mode):
        raise FetchError(f"{shown_as}: not a regular file: a step file must be one")


def unreadable(shown_as: str, error: Exception) -> FetchError:
    """Return the error for a file or directory that exists but cannot be read."""
    reason = getattr(error, "strerror", None) or str(error)
    return FetchError(f"{shown_as}: cannot be read, {reason.lower()}")


def _missing(directory: str, file: str | None, shown: str) -> str:
    """Return the message for a missing file or directory, with a similar name."""
    path = posixpath.join(shown, file) if file else shown
    rule = "a function is a directory with func.yml or step.yml"
    if os.path.isdir(directory or "."):
        return f"{path}: {_instead(directory, file)}; {rule}"
    if os.path.exists(directory) and not file:
        return f"{shown}: not a directory; {rule}"
    parent, name = posixpath.split(directory.rstrip("/"))
    near = nearest(name, _names(parent, directories=True))
    meant = f'did you mean "{posixpath.join(posixpath.dirname(shown.rstrip("/")), near)}"?' if near else rule
    return f"{path}: no such {'file' if file else 'directory'}; {meant}"


def _instead(directory: str, file: str | None) -> str:
    files = _names(directory, directories=False)
    fact = "no such file, but its directory has" if file else f"it has neither {FILES[0]} nor {FILES[1]}, but has"
    near = nearest(file or FILES[0], files) or ", ".join(files[:5])
    return f"{fact} {near}" if near else fact.partition(", but")[0]


def _names(directory: str, *, directories: bool) -> list[str]:
    """Return the names of the subdirectories, or else of the YAML files, of a directory."""
    try:
        with os.scandir(directory or ".") as entries:
            return sorted(one.name for one in entries if (one.is_dir() if directories else names_step_file(one.name)))
    except OSError:
        return []
