"""Passes arguments and variables to a command as execve(2) takes them."""

from __future__ import annotations

import ctypes
import os
from itertools import compress, count
from operator import is_not

from gracefulexitcmd.typed import NamedTuple

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TypeAlias

    Strings: TypeAlias = ctypes.Array[ctypes.c_char_p]


class Passed(NamedTuple):
    """Variables as the kernel takes them; `strings` are valid as long as this object lives."""

    strings: Strings
    owner: Kept | None = None
    """The variables that hold most of the strings."""


class Kept(NamedTuple):
    """The variables of this process at an earlier start."""

    names: tuple[bytes, ...]
    values: tuple[bytes, ...]
    strings: Strings


def passed(env: Mapping[str, str] | Mapping[bytes, bytes]) -> Passed:
    """Return variables as the kernel takes them. Raise ValueError for a NUL, or a `=` in a name.

    Variables in bytes are those of this process, which can be passed.
    """
    pairs: Any = env.items()
    try:
        if isinstance(next(iter(env), ""), bytes):
            return _own(env)  # type: ignore[arg-type]
        names, joined = "".join(env), "\0".join(map("=".join, pairs))  # type: ignore[arg-type]
    except TypeError:  # of several types
        return passed({os.fsdecode(name): os.fsdecode(value) for name, value in pairs})
    variables = os.fsencode(joined).split(b"\0") if env else []
    if "=" in names:
        raise ValueError("illegal environment variable name")
    if len(variables) != len(env):
        raise ValueError("embedded null byte")
    return Passed(strings(variables))


def strings(texts: Sequence[bytes]) -> Strings:
    """Return texts without a NUL as execve(2) takes them."""
    return (ctypes.c_char_p * (len(texts) + 1))(*texts)


_kept: Kept | None = None
"""Most starts pass the same variables, except for the cookie."""


def _own(env: Mapping[bytes, bytes]) -> Passed:
    global _kept
    kept, names, values = _kept, tuple(env), tuple(env.values())
    if kept is None or kept.names != names:
        kept = _kept = Kept(names, values, strings(list(map(b"=".join, env.items()))))
    copy = type(kept.strings).from_buffer_copy(kept.strings)
    for index in compress(count(), map(is_not, values, kept.values)):
        copy[index] = b"%b=%b" % (names[index], values[index])
    return Passed(copy, kept)
