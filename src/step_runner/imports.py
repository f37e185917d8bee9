"""Imports libraries without those of their parts that cost time and memory and are not used here."""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
from collections.abc import Awaitable
from importlib import import_module
from types import FunctionType, GeneratorType, ModuleType

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

CO_COROUTINE = 0x80
"""The flag of the code of an `async def`, inspect.CO_COROUTINE."""

CO_ITERABLE_COROUTINE = 0x100
"""That of a generator that `await` takes, inspect.CO_ITERABLE_COROUTINE."""

CO_ASYNC_GENERATOR = 0x200
"""That of an `async def` with `yield`, inspect.CO_ASYNC_GENERATOR."""

SELDOM_USED = (
    "asyncio.sslproto",
    "asyncio.staggered",
    "base64",
    "binascii",
    "bz2",
    "calendar",
    "google.protobuf.internal.python_message",
    "google.protobuf.text_format",
    "ipaddress",
    "locale",
    "lzma",
    "msgspec.inspect",
    "msgspec.msgpack",
    "msgspec.toml",
    "msgspec.yaml",
    "pkgutil",
    "textwrap",
    "tokenize",
    "zlib",
)
"""Modules that libraries import for functions which most runs never call."""

PACKAGES = ("concurrent.futures", "logging")
"""Those of them that are packages."""

_LOCK = _thread.allocate_lock()

_silent: list[str | None] = []
"""The loggers that drop their messages; logging, which would print errors to stderr, is not yet imported."""


class _Later(ModuleType):
    """Represents a module until one of its attributes is used."""

    def __getattr__(self, name: str) -> Any:
        if name == "__path__" and self.__name__ not in PACKAGES:  # a `from` import asks for it
            raise AttributeError(name)
        return getattr(_imported(self.__name__), name)


def _imported(name: str) -> ModuleType:
    with _LOCK:  # two threads may use the module at once: the second one waits for the import of the first
        later = sys.modules.get(name)
        if isinstance(later, _Later):
            del sys.modules[name]
    try:
        module = import_module(name)
    except (ImportError, OSError):  # no descriptor is free: the next use tries again
        if later is not None:
            sys.modules.setdefault(name, later)
        raise
    if name == "logging":
        while _silent:
            module.getLogger(_silent.pop()).addHandler(module.NullHandler())
    return module


def delay(name: str, **known: object) -> None:
    """Have a module imported when an attribute that is not `known` is first used.

    A module of a package must be imported by `from package import module`.
    """
    if name not in sys.modules:
        sys.modules[name] = later = _Later(name)
        vars(later).update(known)


def delay_seldom_used() -> None:
    """Delay modules that libraries import at their start, but use seldom: they take a quarter of the start of `run`."""
    for name in SELDOM_USED:
        delay(name)
    # Without a text domain it translates nothing.
    delay("gettext", gettext=str, ngettext=lambda one, many, number: one if number == 1 else many)
    delay(
        "inspect",
        cleandoc=cleandoc,
        isawaitable=is_awaitable,
        isfunction=lambda value: isinstance(value, FunctionType),
        unwrap=_unwrapped,
        isasyncgenfunction=is_async_generator_function,
        iscoroutinefunction=is_coroutine_function,
    )
    delay("traceback", extract_stack=_extract_stack)
    _delay_logging()
    if sys.platform != "win32":
        delay("platform", system=lambda: os.uname().sysname)


def _delay_logging() -> None:
    """Delay what asyncio and gRPC import to log errors, and to run functions in threads."""
    import concurrent

    delay("logging", DEBUG=10, getLogger=_Logger, NullHandler=_NullHandler)
    delay("asyncio.log", logger=_Logger("asyncio"))
    results = ("FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED")  # each is its own name
    delay("concurrent.futures", **dict(zip(results, results, strict=True)))
    vars(concurrent)["futures"] = sys.modules["concurrent.futures"]


class _NullHandler:
    """Represents a handler that drops messages."""


class _Logger:
    """Represents a logger until it logs."""

    def __init__(self, name: str | None = None) -> None:
        self._name = name

    def addHandler(self, handler: object) -> None:  # noqa: N802
        """Add a handler; one that drops messages waits for the import of logging."""
        if isinstance(handler, _NullHandler) and isinstance(sys.modules["logging"], _Later):
            _silent.append(self._name)
        else:
            self.__getattr__("addHandler")(handler)

    def debug(self, *message: object) -> None:
        """Log a message if logging is in use: its default level drops this one."""
        if not isinstance(sys.modules["logging"], _Later):
            self.__getattr__("debug")(*message)

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(_imported("logging").getLogger(self._name), name)
        except (ImportError, OSError):  # no descriptor is free: an error that cannot be logged must not end the server
            return _drop


def _unwrapped(call: Any) -> Any:
    """Return the function that decorators have wrapped, as inspect.unwrap does: asyncio describes a failed one so."""
    while hasattr(call, "__wrapped__"):
        call = call.__wrapped__
    return call


def _drop(*_message: object, **_options: object) -> None:
    """Drop a message."""


def delay_typing_extensions() -> None:
    """Delay a module of which gRPC uses two names."""
    import typing

    override = getattr(typing, "override", lambda method: method)  # new in Python 3.12
    delay("typing_extensions", Self=typing.Self, override=override)


def cleandoc(text: str) -> str:
    """Return a text without the indentation of its lines, as inspect.cleandoc does."""
    first, *rest = text.expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in rest if line.strip()), default=0)
    return "\n".join([first.lstrip(), *(line[margin:] for line in rest)]).strip("\n")


def is_coroutine_function(call: object) -> bool:
    """Return what inspect.iscoroutinefunction returns; for functions and methods without its import."""
    return _has_flag(call, CO_COROUTINE, "iscoroutinefunction")


def is_async_generator_function(call: object) -> bool:
    """Return what inspect.isasyncgenfunction returns; for functions and methods without its import."""
    return _has_flag(call, CO_ASYNC_GENERATOR, "isasyncgenfunction")


def _has_flag(call: object, flag: int, name: str) -> bool:
    function = getattr(call, "__func__", call)
    if isinstance(function, FunctionType):
        if function.__code__.co_flags & flag:
            return True
        if not vars(function):
            return False
    asked: bool = getattr(_imported("inspect"), name)(call)
    return asked


def is_awaitable(value: object) -> bool:
    """Return what inspect.isawaitable returns."""
    if isinstance(value, GeneratorType):
        return bool(value.gi_code.co_flags & CO_ITERABLE_COROUTINE)
    return isinstance(value, Awaitable)


def _extract_stack(f: object = None, limit: int | None = None) -> object:  # the names of its parameters there
    return _imported("traceback").extract_stack(f or sys._getframe(1), limit)


@contextlib.contextmanager
def without(name: str) -> Iterator[None]:
    """Make a module impossible to import in the block, for libraries that work without it.

    Later imports find the module.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # makes the import an ImportError
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
    import re

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
