"""Which file a program's name means, and what its arguments may hold."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gracefulexitcmd.request import StrPath

ENDINGS = ".COM;.EXE;.BAT;.CMD"
"""Of programs, where PATHEXT does not say it."""

BATCH = (".bat", ".cmd")

READ_BY_CMD = re.compile(r'["%&|<>^\r\n]')
"""What cmd.exe, which runs batch files, takes out of an argument for itself, however it is quoted."""


def command_line(argv: Sequence[StrPath], cwd: StrPath | None, env: Mapping[str, str] | None) -> list[str]:
    """The words with the program's own path, as a shell finds it; CreateProcess knows neither `cwd` nor batch files.

    A program that is not found stays as it is. Raises ValueError for an argument that a batch file cannot be given.
    """
    name, *arguments = (os.fspath(word) for word in argv)
    path = find(name, cwd, os.environ if env is None else env)
    if path is None:
        return [name, *arguments]
    if path.rstrip(". ").lower().endswith(BATCH):  # Windows leaves out dots and blanks at the end of a name
        for argument in arguments:
            _refuse_special(path, argument)
    return [path, *arguments]


def find(name: str, cwd: StrPath | None, env: Mapping[str, str]) -> str | None:
    """The file of a program, by its path from `cwd` on or in the PATH of `env`; None where there is none."""
    return next(filter(os.path.isfile, _candidates(name, cwd, env)), None)


def _candidates(name: str, cwd: StrPath | None, env: Mapping[str, str]) -> Iterator[str]:
    """The files that could be meant, the first of which is."""
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
            f"{path} is run by cmd.exe, which would take the {found[0]!r} in the argument {argument!r} for itself:"
            " leave it out, or call the program that the batch file calls"
        )
