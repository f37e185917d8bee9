"""Finds the file of a program, and checks its arguments."""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gracefulexitcmd.request import StrPath

ENDINGS = ".COM;.EXE;.BAT;.CMD"
"""The endings of programs, used if PATHEXT is not set."""

BATCH = (".bat", ".cmd")

READ_BY_CMD = re.compile(r'["%&|<>^\r\n]')
"""Characters that cmd.exe, which runs batch files, interprets in an argument even if it is quoted."""


def command_line(argv: Sequence[StrPath], cwd: StrPath | None, env: Mapping[str, str] | None) -> list[str]:
    """Return the argv with the path of the program, found as by a shell; CreateProcess ignores `cwd` and batch files.

    A program that is not found stays as it is. Raise ValueError for an argument that cannot be passed to a batch file.
    """
    name, *arguments = (os.fspath(word) for word in argv)
    path = find(name, cwd, os.environ if env is None else env)
    if path is None:
        return [name, *arguments]
    if path.rstrip(". ").lower().endswith(BATCH):  # Windows ignores dots and blanks at the end of a name
        for argument in arguments:
            _refuse_special(path, argument)
    return [path, *arguments]


def find(name: str, cwd: StrPath | None, env: Mapping[str, str]) -> str | None:
    """Return the file of a program, by its path relative to `cwd` or in the PATH of `env`; None if there is none."""
    return next(filter(os.path.isfile, _candidates(name, cwd, env)), None)


def _candidates(name: str, cwd: StrPath | None, env: Mapping[str, str]) -> Iterator[str]:
    """Yield the candidates for the file in order of precedence; the first one that exists is the program."""
    variables = {variable.upper(): value for variable, value in env.items()}
    known = [ending for ending in (variables.get("PATHEXT") or ENDINGS).split(";") if ending]
    has_ending = name.lower().endswith(tuple(map(str.lower, known)))
    own_path = bool(os.path.dirname(name) or os.path.splitdrive(name)[0])
    places = [os.fspath(cwd or "")] if own_path else [place for place in variables.get("PATH", "").split(";") if place]
    for place in places:
        path = os.path.join(place.strip('"'), name)
        yield from [path] if has_ending else [path + ending for ending in known]
        if own_path and not has_ending:
            yield path


def _refuse_special(path: str, argument: str) -> None:
    found = READ_BY_CMD.search(argument)
    if found is not None:
        raise ValueError(
            f"{path} is run by cmd.exe, which would interpret the {found[0]!r} in the argument {argument!r}:"
            " leave it out, or call the program that the batch file calls"
        )
