"""Imports libraries without those of their parts that cost time and memory and are not used here."""

from __future__ import annotations

import contextlib
import re
import sys
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


@contextlib.contextmanager
def without(name: str) -> Iterator[None]:
    """Make a module impossible to import in the block, for libraries that work without it.

    Later imports find the module.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = cast("ModuleType", None)  # makes the import an ImportError
    try:
        yield
    finally:
        del sys.modules[name]


@contextlib.contextmanager
def plain_character_classes() -> Iterator[None]:
    """Compile patterns in the block so that they match their character classes range by range, as written.

    Otherwise re builds a table of 65,536 characters for each class with a character above U+00FF, which takes
    milliseconds. The patterns match the same texts.
    """
    compiler: Any = getattr(re, "_compiler", None)  # private, but the same from 3.11 to 3.13
    optimized = getattr(compiler, "_optimize_charset", None)
    if optimized is None:
        yield
        return

    def as_written(charset: object, *folding: object) -> object:
        return optimized(charset, *folding) if any(folding) else (charset, False)

    compiler._optimize_charset = as_written
    try:
        yield
    finally:
        compiler._optimize_charset = optimized
